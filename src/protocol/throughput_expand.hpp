// The layout's part for the expanded form: where each received row stands among its experts' rows.
// An expert's rows are counted by chunk, as rows are, so that places follow from sums here too.
#pragma once

#include "protocol/throughput_tables.hpp"

namespace braid::protocol {

namespace detail {

// How many tokens of a chunk name each expert. A warp's work.
template <Machine M>
BRAID_HD void count_experts(M& m, const LayoutArgs& a, const std::int32_t* experts,
                            std::uint32_t* counts) {
  const int k = a.topk.k;
  m.for_lanes(a.experts.num_experts, [&](int expert) { counts[expert] = 0; });
  m.sync_warp();
  m.for_lanes(kChunkTokens * k, [&](int i) {
    const int token = i / k;
    if (experts[i] < 0) return;
    for (int other = token * k; other < i; ++other) {
      if (experts[other] == experts[i]) return;
    }
    m.scratch_add(counts + experts[i], 1);
  });
}

// All sources' chunks, one source's behind another's: from number `begin` up to `end` of them.
// Calls f(chunk) for each.
template <Machine M, class F>
BRAID_HD void for_chunks(const M& m, const LayoutArgs& a, const LayoutTables& tables,
                         std::uint32_t epoch, const Range& numbers, F&& f) {
  std::int64_t first = 0;  // of the source
  for (int source = 0; source < a.op.map.shape.num_ranks && first < numbers.end; ++source) {
    const std::int64_t count = chunks_of(tables.tokens[source]);
    const std::int64_t begin = max_of(numbers.begin - first, std::int64_t{0});
    const std::int64_t end = min_of(numbers.end - first, count);
    for (std::int64_t index = begin; index < end; ++index) {
      f(chunk_at(m, a, epoch, source, static_cast<int>(index)));
    }
    first += count;
  }
}
BRAID_HD inline std::int64_t chunks_before(const LayoutTables& tables, int source) {
  std::int64_t count = 0;
  for (int earlier = 0; earlier < source; ++earlier) count += chunks_of(tables.tokens[earlier]);
  return count;
}
// How many chunks a part of them has that is counted together.
BRAID_HD inline std::int64_t part_size(const LayoutArgs& a, const LayoutTables& tables) {
  const std::int64_t all = chunks_before(tables, a.op.map.shape.num_ranks);
  return max_of(std::int64_t{1}, ceil_div(all, std::int64_t{a.op.map.shape.count_parts()}));
}

// Where each expert's rows begin in the expanded form, and end. The worker's work.
template <Machine M>
BRAID_HD void start_experts(M& m, const LayoutArgs& a, const LayoutTables& tables,
                            std::uint32_t epoch) {
  const auto alignment = static_cast<std::uint32_t>(a.expert_alignment);
  const int num_local = a.experts.num_local();
  const int parts = a.op.map.shape.count_parts();
  const std::int64_t size = part_size(a, tables);
  const layout::ThroughputLocalMap& map = a.op.local_map;
  m.for_threads(parts * num_local, [&](int i) {
    const int part = i / num_local;
    const int expert = m.rank() * num_local + i - part * num_local;
    std::uint32_t rows = 0;
    for_chunks(m, a, tables, epoch, {part * size, (part + 1) * size},
               [&](const Chunk& chunk) { rows += chunk.expert_counts[expert]; });
    tables.expert_rows[i] = rows;
  });
  m.sync_worker();
  const auto rows_of = [&](int local) {
    std::uint32_t rows = 0;
    for (int part = 0; part < parts; ++part) rows += tables.expert_rows[part * num_local + local];
    return rows;
  };
  m.for_threads(num_local, [&](int local) {
    tables.expert_spans[local] = round_up(rows_of(local), alignment);
  });
  m.sync_worker();
  m.for_threads(num_local + 1, [&](int local) {
    std::uint32_t start = 0;
    for (int earlier = 0; earlier < local; ++earlier) start += tables.expert_spans[earlier];
    tables.expert_starts[local] = start;
    if (m.worker() > 0) return;
    *in_local<std::uint32_t>(a.op, map.expert_start(a.op.handle_slot, local)) = start;
    if (local == num_local) return;
    *in_local<std::uint32_t>(a.op, map.expert_end(a.op.handle_slot, local)) =
        start + rows_of(local);
  });
}

// The places of each expert's next row in this chunk; a warp keeps them from chunk to chunk.
template <Machine M>
BRAID_HD void find_expert_places(M& m, const LayoutArgs& a, const LayoutTables& tables,
                                 std::uint32_t epoch, const Chunk& chunk) {
  const int num_local = a.experts.num_local();
  const std::int64_t number = chunks_before(tables, chunk.source) + chunk.index;
  const std::int64_t size = part_size(a, tables);
  const std::int64_t part = quotient(number, size);
  m.for_lanes(num_local, [&](int local) {
    std::uint32_t place = tables.expert_starts[local];
    for (int earlier = 0; earlier < part; ++earlier) {
      place += tables.expert_rows[earlier * num_local + local];
    }
    for_chunks(m, a, tables, epoch, {part * size, number}, [&](const Chunk& earlier) {
      place += earlier.expert_counts[m.rank() * num_local + local];
    });
    tables.next_places[local] = place;
  });
}

// Where the rows of a chunk's tokens stand in the expanded form, behind take_experts.
template <Machine M>
BRAID_HD void place_experts(M& m, const LayoutArgs& a, const LayoutTables& tables,
                            const Chunk& chunk) {
  const int k = a.topk.k;
  const int num_local = a.experts.num_local();
  const std::uint32_t here = chunk.goers[m.rank()];
  m.for_lanes(chunk.num_tokens * k, [&](int i) {
    const int token = i / k;
    const int local = chunk.experts[i] - m.rank() * num_local;
    if (!has(here, token) || local < 0 || local >= num_local) return;
    auto* places = in_local<std::uint32_t>(
        a.op, a.op.local_map.places_of(a.op.handle_slot, tables.rows[token]));
    places[i - token * k] = tables.next_places[local] + before(tables.named[local], token);
  });
  m.sync_warp();
  m.for_lanes(num_local,
              [&](int local) { tables.next_places[local] += size_of(tables.named[local]); });
}

}  // namespace detail

}  // namespace braid::protocol
