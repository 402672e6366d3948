// The layout of a routing, written once for every machine: where each token's rows go, and where
// each received row comes from.
//
// Every rank sends its top-k table to every other in chunks of 32 tokens, each with the set of its
// tokens that go to each rank. A row's place at a rank is then the sum of the tokens that go
// there of earlier ranks, of earlier chunks, and of earlier tokens of its chunk: no atomic and no
// second exchange, and the same places every time.
#pragma once

#include "protocol/throughput_expand.hpp"

namespace braid::protocol {

namespace detail {

// Writes a chunk of this rank's table. A warp's work.
template <Machine M>
BRAID_HD void fill_chunk(M& m, const LayoutArgs& a, int index, std::byte* to) {
  const int k = a.topk.k;
  const int first = index * kChunkTokens;
  const int num_tokens = min_of(a.topk.num_tokens - first, kChunkTokens);
  const auto shape = ChunkShape::of(a.op.map.shape, k);
  auto* experts = reinterpret_cast<std::int32_t*>(to);
  // Several loads at a time in each lane.
  constexpr int kAhead = 8;
  static_assert(kChunkTokens % kAhead == 0);
  const int step = kChunkTokens * k / kAhead;
  m.for_lanes(step, [&](int i) {
    std::int64_t values[kAhead];
    for (int j = 0; j < kAhead; ++j) {
      const int at = i + j * step;
      values[j] = at < num_tokens * k ? a.topk.value(first, at) : -1;
    }
    for (int j = 0; j < kAhead; ++j) {
      const int at = i + j * step;
      const bool is_expert = values[j] >= 0 && values[j] < a.topk.num_experts;
      experts[at] = is_expert ? static_cast<std::int32_t>(values[j]) : -1;
      if (!a.topk.may_be(values[j])) m.report_bad_choice(first + at / k, at % k, values[j]);
    }
  });
  find_goers(m, a, experts, reinterpret_cast<std::uint32_t*>(to + shape.goers_at));
  if (a.op.map.shape.expanded) {
    count_experts(m, a, experts, reinterpret_cast<std::uint32_t*>(to + shape.expert_counts_at));
  }
}

// Tells every rank what this one's tokens are routed to.
template <Machine M>
BRAID_HD void send_chunks(M& m, const LayoutArgs& a, std::uint32_t epoch) {
  const int ranks = a.op.map.shape.num_ranks;
  const int depth = depth_of(a.op, epoch);
  const layout::ThroughputMap& map = a.op.map;
  if (m.worker() == 0) {
    const Word word = layout::make_word(epoch, static_cast<std::uint32_t>(a.topk.num_tokens));
    m.for_threads(ranks, [&](int peer) {
      if (is_active(a.op, peer)) m.post(peer, map.announced_word(depth, m.rank()), word);
    });
  }
  const int chunks = chunks_of(static_cast<std::uint32_t>(a.topk.num_tokens));
  const auto share = WarpShare::all(m);
  for (std::int64_t i = share.first; i < chunks; i += share.step) {
    const int index = static_cast<int>(i);
    const auto staged = m.stage_filled(ChunkShape::of(a.op.map.shape, a.topk.k).bytes,
                                       [&](std::byte* to) { fill_chunk(m, a, index, to); });
    m.for_lanes(ranks, [&](int peer) {
      if (is_active(a.op, peer)) m.send(staged, peer, 0, map.chunk(depth, m.rank(), index));
    });
    m.drain();
    m.for_lanes(ranks, [&](int peer) {
      if (!is_active(a.op, peer)) return;
      m.raise(peer, map.chunk_flag(depth, m.rank(), index), layout::make_word(epoch, 0));
    });
  }
}

// Waits for the whole routing, and adds up where each source's rows begin here and this rank's
// rows begin elsewhere. False where a rank did not come; the worker's work.
template <Machine M>
BRAID_HD bool read_counts(M& m, const LayoutArgs& a, const LayoutTables& tables,
                          std::uint32_t epoch) {
  const int ranks = a.op.map.shape.num_ranks;
  const int depth = depth_of(a.op, epoch);
  m.for_threads(ranks, [&](int source) {
    tables.first_own[source] = 0;
    tables.from[source] = 0;
    tables.tokens[source] = 0;
    if (!is_active(a.op, source)) return;
    const auto word = m.wait(flag_at(m.local(), a.op.map.announced_word(depth, source)), epoch,
                             WaitTag{Operation::kLayout, 0, source}, nullptr);
    if (word.reached) tables.tokens[source] = layout::value_of(word.seen);
  });
  m.sync_worker();
  if (m.failed()) return false;
  const int most = a.op.map.shape.num_chunks();
  m.for_threads(ranks * most, [&](int i) {
    const int source = i / most;
    const int index = i - source * most;
    if (index >= chunks_of(tables.tokens[source])) return;
    const auto flag = m.wait(flag_at(m.local(), a.op.map.chunk_flag(depth, source, index)), epoch,
                             WaitTag{Operation::kLayout, 0, source}, nullptr);
    if (!flag.reached) return;
    const Chunk chunk = chunk_at(m, a, epoch, source, index);
    const std::uint32_t coming = size_of(chunk.goers[m.rank()]);
    tables.coming[i] = static_cast<std::uint8_t>(coming);
    m.scratch_add(tables.from + source, coming);
    for (int rank = 0; rank < ranks && source <= m.rank(); ++rank) {
      const std::uint32_t rows = size_of(chunk.goers[rank]);
      if (source < m.rank()) {
        m.scratch_add(tables.first_own + rank, rows);
      } else {
        tables.going[index * ranks + rank] = static_cast<std::uint8_t>(rows);
      }
    }
  });
  m.sync_worker();
  if (m.failed()) return false;
  m.for_threads(ranks + 1, [&](int end) {
    std::uint32_t rows = 0;
    for (int source = 0; source < end; ++source) rows += tables.from[source];
    tables.row_starts[end] = rows;
    if (m.worker() > 0) return;
    *in_local<std::uint32_t>(a.op, a.op.local_map.row_start(a.op.handle_slot, end)) = rows;
  });
  if (a.op.map.shape.expanded) start_experts(m, a, tables, epoch);
  m.sync_worker();
  return true;
}

// The places of a source's first row in this chunk; a warp keeps them from chunk to chunk.
template <Machine M>
BRAID_HD void find_places(M& m, const LayoutArgs& a, const LayoutTables& tables,
                          std::uint32_t epoch, const Chunk& chunk) {
  const int ranks = a.op.map.shape.num_ranks;
  const bool is_own = chunk.source == m.rank();
  m.for_lanes(ranks + 1, [&](int i) {
    tables.next[i] = i < ranks ? tables.first_own[i] : tables.row_starts[chunk.source];
  });
  m.sync_warp();
  const std::uint8_t* coming = tables.coming + chunk.source * a.op.map.shape.num_chunks();
  m.for_lanes(chunk.index,
              [&](int earlier) { m.scratch_add(tables.next + ranks, coming[earlier]); });
  m.for_lanes(is_own ? chunk.index * ranks : 0,
              [&](int i) { m.scratch_add(tables.next + i % ranks, tables.going[i]); });
  if (a.op.map.shape.expanded) find_expert_places(m, a, tables, epoch, chunk);
  m.sync_warp();
}

// Where this rank's tokens of a chunk go.
template <Machine M>
BRAID_HD void place_own(M& m, const LayoutArgs& a, const LayoutTables& tables, const Chunk& chunk) {
  const int most = a.op.map.shape.most_ranks();
  const int ranks = a.op.map.shape.num_ranks;
  const int first = chunk.index * kChunkTokens;
  m.for_lanes(chunk.num_tokens, [&](int token) {
    Destination* to = destinations_of(a.op, first + token);
    int count = 0;
    for (int rank = 0; rank < ranks; ++rank) {
      if (!has(chunk.goers[rank], token)) continue;
      to[count++] = {rank, tables.next[rank] + before(chunk.goers[rank], token)};
    }
    for (; count < most; ++count) to[count] = {};
  });
  m.sync_warp();
  m.for_lanes(ranks, [&](int rank) { tables.next[rank] += size_of(chunk.goers[rank]); });
}

// The choices of a chunk's tokens that have rows here as local experts, and how many rows name each
// of those: one where a token names it twice.
template <Machine M>
BRAID_HD void take_experts(M& m, const LayoutArgs& a, const LayoutTables& tables,
                           const Chunk& chunk) {
  const int k = a.topk.k;
  const int num_local = a.experts.num_local();
  const std::uint32_t here = chunk.goers[m.rank()];
  m.for_lanes(chunk.num_tokens * k, [&](int i) {
    const int token = i / k;
    if (!has(here, token)) return;
    const int local = chunk.experts[i] - m.rank() * num_local;
    const bool is_local = chunk.experts[i] >= 0 && local >= 0 && local < num_local;
    experts_of(a.op, tables.rows[token])[i - token * k] = is_local ? local : -1;
    if (is_local) m.scratch_or(tables.named + local, 1U << token);
  });
  m.sync_warp();
  m.for_lanes(num_local, [&](int local) {
    const std::uint32_t rows = size_of(tables.named[local]);
    if (rows == 0) return;
    m.count(in_local<std::uint32_t>(a.op, a.op.local_map.expert_count(a.op.handle_slot, local)),
            rows);
  });
}

// Where this rank's rows of a chunk come from. A warp's work, as is what it calls.
template <Machine M>
BRAID_HD void place_chunk(M& m, const LayoutArgs& a, const LayoutTables& tables,
                          const Chunk& chunk) {
  const int ranks = a.op.map.shape.num_ranks;
  const int most = a.op.map.shape.most_ranks();
  const std::uint32_t here = chunk.goers[m.rank()];
  if (chunk.source == m.rank()) place_own(m, a, tables, chunk);
  const std::uint32_t first = tables.next[ranks];
  m.for_lanes(a.experts.num_local(), [&](int local) { tables.named[local] = 0; });
  m.for_lanes(chunk.num_tokens, [&](int token) {
    if (!has(here, token)) return;
    const std::uint32_t row = first + before(here, token);
    const int slot =
        (chunk.index * kChunkTokens + token) * most + chunk.ranks_before(token, m.rank());
    origin_of(a.op, row) = {static_cast<std::uint32_t>(chunk.source),
                            static_cast<std::uint32_t>(slot)};
    tables.rows[token] = row;
  });
  m.sync_warp();
  take_experts(m, a, tables, chunk);
  if (a.op.map.shape.expanded) place_experts(m, a, tables, chunk);
  if (m.lane() == 0) tables.next[ranks] = first + size_of(here);
  m.sync_warp();
}

// All sources' chunks, in order, a run of neighbors for each warp.
template <Machine M>
BRAID_HD void place_chunks(M& m, const LayoutArgs& a, const LayoutTables& tables,
                           std::uint32_t epoch) {
  const int ranks = a.op.map.shape.num_ranks;
  std::int64_t chunks = 0;
  for (int source = 0; source < ranks; ++source) chunks += chunks_of(tables.tokens[source]);
  const auto warps = WarpShare::all(m);
  const Range share = share_of(chunks, warps.first, warps.step);
  std::int64_t before = 0;  // of earlier sources
  for (int source = 0; source < ranks && before < share.end; ++source) {
    const std::int64_t count = chunks_of(tables.tokens[source]);
    const std::int64_t begin = max_of(share.begin, before);
    const std::int64_t end = min_of(share.end, before + count);
    for (std::int64_t i = begin; i < end; ++i) {
      const int index = static_cast<int>(i - before);
      const auto staged = m.stage(chunk_at(m, a, epoch, source, index).bytes,
                                  ChunkShape::of(a.op.map.shape, a.topk.k).bytes);
      Chunk chunk = chunk_in(staged.data, a, source, index);
      const int rest = static_cast<int>(tables.tokens[source]) - index * kChunkTokens;
      chunk.num_tokens = min_of(rest, kChunkTokens);
      if (i == begin) find_places(m, a, tables, epoch, chunk);
      place_chunk(m, a, tables, chunk);
    }
    before += count;
  }
}

// A warp of the last worker's: what the host waits for. The counters start over.
template <Machine M>
BRAID_HD void tell_host(M& m, const LayoutArgs& a) {
  const auto at = layout::ReceivedMap::of(a.op.map.shape);
  auto* sources = reinterpret_cast<std::uint32_t*>(a.record + at.sources_at);
  auto* experts = reinterpret_cast<std::uint32_t*>(a.record + at.experts_at);
  const std::uint32_t* starts = row_starts(a.op);
  m.for_lanes(a.op.map.shape.num_ranks,
              [&](int source) { sources[source] = starts[source + 1] - starts[source]; });
  constexpr int kAhead = 4;
  const int num_local = a.op.map.shape.num_local();
  const int step = ceil_div(num_local, kAhead);
  auto* counts = in_local<std::uint32_t>(a.op, a.op.local_map.expert_count(a.op.handle_slot, 0));
  m.for_lanes(step, [&](int i) {
    std::uint32_t rows[kAhead];
    for (int j = 0; j < kAhead; ++j) rows[j] = i + j * step < num_local ? counts[i + j * step] : 0;
    for (int j = 0; j < kAhead && i + j * step < num_local; ++j) {
      experts[i + j * step] = rows[j];
      counts[i + j * step] = 0;
    }
  });
  m.sync_warp();
  if (m.lane() == 0) m.publish(reinterpret_cast<Word*>(a.record), a.number);
}

}  // namespace detail

// All workers of all ranks run it at the same time; collective over the worker.
template <Machine M>
BRAID_HD void layout_routing(M& m, const LayoutArgs& a) {
  const std::uint32_t epoch = state_of(a.op).epoch + 1;
  const auto tables = detail::LayoutTables::of(m, a.op.map.shape);
  if (detail::begin_operation(m, a.op, epoch, Operation::kLayout)) {
    detail::send_chunks(m, a, epoch);
    if (detail::read_counts(m, a, tables, epoch)) detail::place_chunks(m, a, tables, epoch);
  }
  m.sync_worker();
  if (m.warp() != 0 || !detail::is_last(m, a.op) || m.failed()) return;
  detail::tell_host(m, a);
  detail::end_operation(m, a.op, epoch);
}

}  // namespace braid::protocol
