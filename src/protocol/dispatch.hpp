// Dispatch, written once for every machine: tokens to the ranks of their experts.
//
// Each message (layout/shape.hpp) carries a token's encoded row and its placements at the
// destination, for all rounds; it goes once, in the first round that needs it. The notices of a
// round (rows for each of its experts, messages, namings) are words that carry their own epoch, so
// the receiver knows every row's place as soon as they are there, while rows are still on their way.
#pragma once

#include "layout/scratch.hpp"
#include "protocol/control.hpp"

namespace braid::protocol {

namespace detail {

using layout::ChoicePlan;
using layout::DispatchSendScratch;
using layout::MessageHeader;
using layout::MessageShape;
using layout::Placement;
using layout::RouteCounts;

// Tables of dispatch_send in the worker's scratch.
struct SendTables {
  RouteCounts before, total;
  std::int32_t* experts;
  ChoicePlan* plans;
  std::byte* message;  // this warp's header and placements
  Word* words;

  template <Machine M>
  BRAID_HD static SendTables of(M& m, const DispatchArgs& a) {
    const auto at = DispatchSendScratch::of(a.rules.experts, a.topk.k, m.num_warps());
    std::byte* base = m.scratch();
    SendTables tables;
    tables.before =
        RouteCounts::at(reinterpret_cast<std::uint32_t*>(base + at.before), a.rules.experts);
    tables.total =
        RouteCounts::at(reinterpret_cast<std::uint32_t*>(base + at.total), a.rules.experts);
    tables.experts = reinterpret_cast<std::int32_t*>(base + at.experts);
    tables.plans = reinterpret_cast<ChoicePlan*>(base + at.plans);
    tables.message = base + at.messages + m.warp() * at.message_bytes;
    tables.words = reinterpret_cast<Word*>(base + at.words);
    return tables;
  }
};

// Counts the whole routing, and apart the tokens before this worker's.
template <Machine M>
BRAID_HD void count_routes(M& m, const DispatchArgs& a, const SendTables& tables,
                           std::int64_t first_token) {
  const std::int64_t size = RouteCounts::size(a.rules.experts);
  for (std::int64_t i = m.thread(); i < size; i += m.num_threads()) {
    tables.before.rows[i] = 0;
    tables.total.rows[i] = 0;
  }
  m.sync_worker();
  const auto add = [&m](std::uint32_t* counter, std::uint32_t amount) {
    m.scratch_add(counter, amount);
  };
  // A thread takes a (token, choice), so that no thread needs an array of its own.
  const std::int64_t num_choices = std::int64_t{a.topk.num_tokens} * a.topk.k;
  for (std::int64_t i = m.thread(); i < num_choices; i += m.num_threads()) {
    const std::int64_t token = i / a.topk.k;
    const int choice = static_cast<int>(i - token * a.topk.k);
    const ChoicePlan plan =
        layout::plan_from_token(a.rules, layout::TopKRow{&a.topk, token}, a.topk.k, choice);
    layout::count_choice(a.rules, plan, choice, tables.total, add);
    if (token < first_token) layout::count_choice(a.rules, plan, choice, tables.before, add);
  }
  m.sync_worker();
}

// Tells the destinations that this worker answers for what the round will bring them.
template <Machine M>
BRAID_HD void send_notices(M& m, const DispatchArgs& a, const SendTables& tables, int round,
                           std::uint32_t epoch) {
  const ExpertMap& experts = a.rules.experts;
  const int per_round = experts.per_round();
  const int depth = depth_of(a.op, epoch);
  const std::uint64_t id = operation_id(epoch, Phase::kDispatchSend, round);
  for (int step = m.worker(); step < experts.num_ranks; step += m.num_workers()) {
    const int peer = (m.rank() + step) % experts.num_ranks;
    if (!is_active(a.op, peer)) continue;
    const int first = round * per_round;
    const Word messages = layout::make_word(
        epoch, tables.total.messages[std::int64_t{peer} * experts.num_rounds + round]);
    const Word namings = layout::make_word(epoch, tables.total.namings[peer]);
    const std::int64_t counts_at = a.op.map.count_word(depth, m.rank(), first);
    const std::int64_t messages_at = a.op.map.messages_word(depth, m.rank(), round);
    const std::int64_t namings_at = a.op.map.namings_word(depth, m.rank());
    const bool reachable = m.reachable(peer);
    for (int i = m.thread(); i < per_round; i += m.num_threads()) {
      const std::int64_t expert = std::int64_t{peer} * experts.num_local() + first + i;
      const Word word = layout::make_word(epoch, tables.total.rows[expert]);
      if (reachable) {
        m.raise(peer, counts_at + i * layout::kWordBytes, word);
      } else {
        tables.words[i] = word;
      }
    }
    if (reachable) {
      if (m.thread() == 0) {
        m.raise(peer, messages_at, messages);
        if (round == 0) m.raise(peer, namings_at, namings);
      }
      continue;
    }
    if (m.thread() == 0) {
      tables.words[per_round] = messages;
      tables.words[per_round + 1] = namings;
    }
    m.sync_worker();
    if (m.warp() == 0) {
      const auto* words = reinterpret_cast<const std::byte*>(tables.words);
      m.write(words, per_round * layout::kWordBytes, peer, id, counts_at);
      m.write(words + per_round * layout::kWordBytes, layout::kWordBytes, peer, id, messages_at);
      if (round == 0) {
        m.write(words + (per_round + 1) * layout::kWordBytes, layout::kWordBytes, peer, id,
                namings_at);
      }
    }
    m.sync_worker();
  }
}

// Plans all choices of a token; then moves the counts past it.
template <Machine M>
BRAID_HD void plan_token(M& m, const DispatchArgs& a, const SendTables& tables,
                         std::int64_t token) {
  const int k = a.topk.k;
  for (int choice = m.thread(); choice < k; choice += m.num_threads()) {
    tables.experts[choice] = a.topk.expert(token, choice);
  }
  m.sync_worker();
  for (int choice = m.thread(); choice < k; choice += m.num_threads()) {
    tables.plans[choice] = layout::plan_from_token(a.rules, tables.experts, k, choice);
  }
  m.sync_worker();
  for (int choice = m.thread(); choice < k; choice += m.num_threads()) {
    layout::place_choice(a.rules, tables.plans, choice, tables.before, tables.total,
                         tables.plans[choice]);
  }
  m.sync_worker();
  for (int choice = m.thread(); choice < k; choice += m.num_threads()) {
    layout::count_choice(a.rules, tables.plans[choice], choice, tables.before,
                         [&m](std::uint32_t* counter, std::uint32_t amount) {
                           m.scratch_add(counter, amount);
                         });
  }
}

// Composes header and placements of the message that `leader` leads. A warp's work.
template <Machine M>
BRAID_HD int compose_message(M& m, const DispatchArgs& a, const SendTables& tables,
                             std::int64_t token, int leader) {
  const int key = a.rules.key(tables.plans[leader].expert);
  auto* header = reinterpret_cast<MessageHeader*>(tables.message);
  auto* placements = reinterpret_cast<Placement*>(tables.message + sizeof(MessageHeader));
  int count = 0;
  for (int choice = leader; choice < a.topk.k; ++choice) {
    const ChoicePlan& plan = tables.plans[choice];
    if (plan.expert < 0 || a.rules.key(plan.expert) != key) continue;
    if (count % m.num_lanes() == m.lane()) {
      Placement placement;
      placement.expert_choice = Placement::pack(a.rules.experts.local_of(plan.expert), choice,
                                                plan.repeats(choice));
      placement.row = plan.row;
      placement.list_pos = plan.list_pos;
      placement.weight = a.weights == nullptr ? 0.0F : a.weights[token * a.topk.k + choice];
      placements[count] = placement;
    }
    ++count;
  }
  if (m.lane() == 0) {
    *header = {static_cast<std::uint32_t>(token), static_cast<std::uint32_t>(count), {0, 0}};
  }
  m.sync_warp();
  return count;
}

// Sends the messages of one token that go in this round, a message a warp.
template <Machine M>
BRAID_HD void send_token(M& m, const DispatchArgs& a, const SendTables& tables, int round,
                         std::uint32_t epoch, std::int64_t token) {
  const MessageShape shape = MessageShape::of(a.format, a.op.map.shape.hidden);
  const int depth = depth_of(a.op, epoch);
  const std::uint64_t id = operation_id(epoch, Phase::kDispatchSend, round);
  machine::Staged staged;
  int turn = 0;
  for (int choice = 0; choice < a.topk.k; ++choice) {
    const ChoicePlan& plan = tables.plans[choice];
    if (plan.expert < 0 || !plan.leads || plan.message_round != round) continue;
    if (!is_active(a.op, plan.rank)) continue;
    if (staged.data == nullptr) {
      staged = m.stage_encoded(a.format, a.x + token * a.op.map.shape.hidden,
                               a.op.map.shape.hidden);
    }
    if (turn++ % m.num_warps() != m.warp()) continue;
    const std::int64_t message = a.op.map.message(depth, m.rank(), plan.slot);
    m.send(staged, plan.rank, id, message);
    const int count = compose_message(m, a, tables, token, choice);
    m.write(tables.message, shape.bytes(count) - shape.header_at, plan.rank, id,
            message + shape.header_at);
    m.count_message(plan.rank);
    m.drain();
    if (m.lane() == 0 && m.reachable(plan.rank)) {
      m.raise(plan.rank, a.op.map.arrived_flag(depth, m.rank(), plan.slot),
              layout::make_word(epoch, 0));
    }
  }
}

}  // namespace detail

// One round's send. Every worker of the rank runs it; collective over the worker.
template <Machine M>
BRAID_HD void dispatch_send(M& m, const DispatchArgs& a, int round) {
  const auto tables = detail::SendTables::of(m, a);
  const std::uint32_t epoch =
      open_send(m, a.op, record_of(a.op).dispatch_epoch,
                WaitTag{Operation::kDispatchSend, round, 0}, a.waited_ns);
  if (!m.failed()) {
    const Range tokens = share_of(a.topk.num_tokens, m.worker(), m.num_workers());
    detail::count_routes(m, a, tables, tokens.begin);
    detail::send_notices(m, a, tables, round, epoch);
    for (std::int64_t token = tokens.begin; token < tokens.end; ++token) {
      detail::plan_token(m, a, tables, token);
      detail::send_token(m, a, tables, round, epoch, token);
      m.sync_worker();
    }
  }
  close_send(m, a.op, {layout::Signal::kDispatch, Phase::kDispatchSend, round, epoch,
                       &record_of(a.op).dispatch_epoch});
}

}  // namespace braid::protocol
