// The layout's part for the expanded form: where each received row stands among its experts' rows.
// An expert's rows are counted by chunk, as rows are, so that places follow from sums here too.
#pragma once

#include "protocol/throughput_tables.hpp"

namespace braid::protocol {

namespace detail {

// How many tokens of a chunk name each expert. A warp's work.
template <Machine M>
BRAID_HD void count_experts(M& m, const LayoutArgs& a, const std::int32_t* experts,
                            std::uint32_t* counts, int num_tokens) {
  const int k = a.topk.k;
  m.for_lanes(a.experts.num_experts, [&](int expert) { counts[expert] = 0; });
  m.sync_warp();
  m.for_lanes(num_tokens * k, [&](int i) {
    const int token = i / k;
    if (experts[i] < 0) return;
    for (int other = token * k; other < i; ++other) {
      if (experts[other] == experts[i]) return;
    }
    m.scratch_add(counts + experts[i], 1);
  });
}

// Where each expert's rows begin in the expanded form, and end. The worker's work.
template <Machine M>
BRAID_HD void start_experts(M& m, const LayoutArgs& a, const LayoutTables& tables) {
  const auto alignment = static_cast<std::uint32_t>(a.expert_alignment);
  const int num_local = a.experts.num_local();
  const layout::ThroughputLocalMap& map = a.op.local_map;
  m.for_threads(num_local + 1, [&](int local) {
    std::uint32_t start = 0;
    for (int earlier = 0; earlier < local; ++earlier) {
      start += round_up(tables.expert_rows[earlier], alignment);
    }
    tables.expert_starts[local] = start;
    if (m.worker() > 0) return;
    *in_local<std::uint32_t>(a.op, map.expert_start(a.op.handle_slot, local)) = start;
    if (local == num_local) return;
    *in_local<std::uint32_t>(a.op, map.expert_end(a.op.handle_slot, local)) =
        start + tables.expert_rows[local];
  });
}

// The places of each expert's next row in this chunk; a warp keeps them from chunk to chunk.
template <Machine M>
BRAID_HD void find_expert_places(M& m, const LayoutArgs& a, const LayoutTables& tables,
                                 std::uint32_t epoch, const Chunk& chunk) {
  const int num_local = a.experts.num_local();
  m.for_lanes(num_local, [&](int local) {
    std::uint32_t place = tables.expert_starts[local];
    for (int source = 0; source <= chunk.source; ++source) {
      const int end = source < chunk.source ? chunks_of(tables.tokens[source]) : chunk.index;
      for (int index = 0; index < end; ++index) {
        place += chunk_at(m, a, epoch, source, index).expert_counts[m.rank() * num_local + local];
      }
    }
    tables.next_places[local] = place;
  });
}

// Where the rows of a chunk's tokens stand in the expanded form, an expert a lane.
template <Machine M>
BRAID_HD void place_experts(M& m, const LayoutArgs& a, const LayoutTables& tables,
                            const Chunk& chunk) {
  const int k = a.topk.k;
  const int num_local = a.experts.num_local();
  m.for_lanes(num_local, [&](int local) {
    const std::int32_t expert = m.rank() * num_local + local;
    std::uint32_t place = tables.next_places[local];
    for (int token = 0; token < chunk.num_tokens; ++token) {
      if (!tables.goes_to(token, m.rank())) continue;
      auto* places = in_local<std::uint32_t>(
          a.op, a.op.local_map.places_of(a.op.handle_slot, tables.rows[token]));
      bool is_named = false;
      for (int choice = 0; choice < k; ++choice) {
        if (chunk.experts[token * k + choice] != expert) continue;
        places[choice] = place;
        is_named = true;
      }
      if (is_named) ++place;
    }
    tables.next_places[local] = place;
  });
}

}  // namespace detail

}  // namespace braid::protocol
