// Dispatch, written once for every machine: tokens to the ranks of their experts.
//
// Each message (layout/shape.hpp) carries a token's encoded row and its placements at the
// destination, for all rounds; it goes once, in the first round that needs it. The notices of a
// round (rows for each of its experts, messages) are words that carry their own epoch, so
// the receiver knows every row's place as soon as they are there, while rows are still on their
// way.
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
  float* weights;
  ChoicePlan* plans;    // of kPlannedTokens, in turn
  std::byte* messages;  // header and placements, by leading choice
  std::int64_t message_bytes;
  Word* words;

  template <Machine M>
  BRAID_HD static SendTables of(M& m, const DispatchArgs& a) {
    const auto at = DispatchSendScratch::of(a.rules.experts, a.topk.k);
    std::byte* base = m.scratch();
    SendTables tables;
    tables.before =
        RouteCounts::at(reinterpret_cast<std::uint32_t*>(base + at.before), a.rules.experts);
    tables.total =
        RouteCounts::at(reinterpret_cast<std::uint32_t*>(base + at.total), a.rules.experts);
    tables.experts = reinterpret_cast<std::int32_t*>(base + at.experts);
    tables.weights = reinterpret_cast<float*>(base + at.weights);
    tables.plans = reinterpret_cast<ChoicePlan*>(base + at.plans);
    tables.messages = base + at.messages;
    tables.message_bytes = at.message_bytes;
    tables.words = reinterpret_cast<Word*>(base + at.words);
    return tables;
  }
};

// Counts the tokens before this worker's, and where it is asked for, all of them. The next
// sync_worker makes the counts complete.
template <Machine M>
BRAID_HD void count_routes(M& m, const DispatchArgs& a, const SendTables& tables,
                           std::int64_t first_token) {
  const std::int64_t size = RouteCounts::size(a.rules.experts);
  m.for_threads(static_cast<int>(size), [&](int i) {
    tables.before.rows[i] = 0;
    tables.total.rows[i] = 0;
  });
  m.sync_worker();
  const auto add = [&m](std::uint32_t* counter, std::uint32_t amount) {
    m.scratch_add(counter, amount);
  };
  // Workers that send notices, and all where slots depend on later tokens' rounds.
  const bool all = m.worker() < a.rules.experts.num_ranks || a.rules.experts.num_rounds > 1;
  // A thread takes a (token, choice), so that no thread needs an array of its own.
  const int k = a.topk.k;
  const int num_choices = (all ? a.topk.num_tokens : static_cast<int>(first_token)) * k;
  m.for_threads(num_choices, [&](int i) {
    const int token = i / k;
    const int choice = i - token * k;
    const ChoicePlan plan =
        layout::plan_from_token(a.rules, layout::TopKRow{&a.topk, token}, k, choice);
    if (all) layout::count_choice(a.rules, plan, choice, tables.total, add);
    if (token < first_token) layout::count_choice(a.rules, plan, choice, tables.before, add);
  });
}

// One of the words that a destination is told: rows for each expert of the round, then its
// messages. Each is its own flag and promises nothing else.
struct Notice {
  std::int64_t offset = 0;
  Word word = 0;
};

BRAID_HD inline Notice notice_of(const DispatchArgs& a, const SendTables& tables, WaitTag to,
                                 int source, std::uint32_t epoch, int i) {
  const ExpertMap& experts = a.rules.experts;
  const int depth = depth_of(a.op, epoch);
  const int first = to.round * experts.per_round();
  const auto word = [epoch](std::uint32_t value) { return layout::make_word(epoch, value); };
  if (i < experts.per_round()) {
    return {a.op.map.count_word(depth, source, first + i),
            word(tables.total.rows[std::int64_t{to.peer} * experts.num_local() + first + i])};
  }
  const std::int64_t at = std::int64_t{to.peer} * experts.num_rounds + to.round;
  return {a.op.map.messages_word(depth, source, to.round), word(tables.total.messages[at])};
}

// Tells the destinations that this worker answers for what the round will bring them.
template <Machine M>
BRAID_HD void send_notices(M& m, const DispatchArgs& a, const SendTables& tables, int round,
                           std::uint32_t epoch) {
  const ExpertMap& experts = a.rules.experts;
  const int num_words = experts.per_round() + 1;
  const std::uint64_t id = operation_id(epoch, Phase::kDispatchSend, round);
  for (int step = m.worker(); step < experts.num_ranks; step += m.num_workers()) {
    const int peer = (m.rank() + step) % experts.num_ranks;
    if (!is_active(a.op, peer)) continue;
    const WaitTag to{Operation::kDispatchSend, round, peer};
    if (m.reachable(peer)) {
      m.for_threads(num_words, [&](int i) {
        const Notice notice = notice_of(a, tables, to, m.rank(), epoch, i);
        m.post(peer, notice.offset, notice.word);
      });
      continue;
    }
    m.for_threads(num_words, [&](int i) {
      tables.words[i] = notice_of(a, tables, to, m.rank(), epoch, i).word;
    });
    m.sync_worker();
    const auto put = [&](int first, int count) {
      m.write(reinterpret_cast<const std::byte*>(tables.words + first), count * layout::kWordBytes,
              peer, id, notice_of(a, tables, to, m.rank(), epoch, first).offset);
    };
    if (m.warp() == 0) {
      put(0, experts.per_round());
      put(experts.per_round(), 1);
    }
    m.sync_worker();
  }
}

// What the messages of a worker have in common.
struct Sending {
  int round = 0;
  std::uint32_t epoch = 0;
  int depth = 0;
  std::uint64_t id = 0;
  MessageShape shape;
};

// Whether the message that this choice leads goes in this round.
BRAID_HD inline bool goes(const DispatchArgs& a, const Sending& s, const ChoicePlan& plan) {
  return plan.leads() && plan.message_round == s.round && is_active(a.op, plan.rank);
}

// Reads what a token's plan needs, ahead of it. A warp's work, that of plan_token. The first round
// reports values that name no expert: a token is read once a round, by the worker that sends it.
template <Machine M>
BRAID_HD void read_token(M& m, const DispatchArgs& a, const SendTables& tables, int round,
                         std::int64_t token) {
  m.for_lanes(a.topk.k, [&](int choice) {
    const float weight = a.weights == nullptr ? 0.0F : a.weights[token * a.topk.k + choice];
    const int expert = a.topk.expert(token, choice);
    tables.experts[choice] = expert;
    tables.weights[choice] = weight;
    if (expert >= 0 || round > 0) return;
    const std::int64_t value = a.topk.value(token, choice);
    if (!a.topk.may_be(value)) m.report_bad_choice(token, choice, value);
  });
  m.sync_warp();
}

// Plans the choices of the token that was read, sends its messages' headers and placements ahead of
// the row, and moves the counts past it. A warp's work, always the same one.
template <Machine M>
BRAID_HD void plan_token(M& m, const DispatchArgs& a, const SendTables& tables, const Sending& s,
                         ChoicePlan* plans, std::int64_t token) {
  const int k = a.topk.k;
  m.for_lanes(k, [&](int choice) {
    ChoicePlan plan = layout::plan_from_token(a.rules, tables.experts, k, choice);
    layout::place_choice(a.rules, tables.experts, choice, tables.before, tables.total, plan);
    plans[choice] = plan;
    if (plan.expert < 0) return;
    std::byte* message = tables.messages + plan.leader * tables.message_bytes;
    auto* placements = reinterpret_cast<Placement*>(message + sizeof(MessageHeader));
    const int local = plan.expert - plan.rank * a.rules.experts.num_local();
    placements[plan.position] = {Placement::pack(local, choice, plan.repeats(choice)), plan.row,
                                 tables.weights[choice], 0};
    if (!plan.leads()) return;
    *reinterpret_cast<MessageHeader*>(message) = {static_cast<std::uint32_t>(token),
                                                  static_cast<std::uint32_t>(plan.named),
                                                  static_cast<std::uint32_t>(a.topk.num_tokens), 0};
  });
  m.sync_warp();
  m.for_lanes(k, [&](int choice) {
    const ChoicePlan plan = plans[choice];
    layout::count_choice(
        a.rules, plan, choice, tables.before,
        [&m](std::uint32_t* counter, std::uint32_t amount) { m.scratch_add(counter, amount); });
    if (!goes(a, s, plan)) return;
    m.write(tables.messages + choice * tables.message_bytes,
            s.shape.bytes(plan.named) - s.shape.header_at, plan.rank, s.id,
            a.op.map.message(s.depth, m.rank(), plan.slot) + s.shape.header_at);
  });
  m.sync_warp();
}

template <Machine M>
BRAID_HD void send_row(M& m, const DispatchArgs& a, const Sending& s, const ChoicePlan* plans,
                       const machine::Staged& staged) {
  m.for_lanes(a.topk.k, [&](int choice) {
    const ChoicePlan& plan = plans[choice];
    if (!goes(a, s, plan)) return;
    m.send(staged, plan.rank, s.id, a.op.map.message(s.depth, m.rank(), plan.slot));
    m.count_message(plan.rank);
  });
}

template <Machine M>
BRAID_HD void raise_arrived(M& m, const DispatchArgs& a, const Sending& s,
                            const ChoicePlan* plans) {
  m.drain();
  m.for_lanes(a.topk.k, [&](int choice) {
    const ChoicePlan& plan = plans[choice];
    if (!goes(a, s, plan) || !m.reachable(plan.rank)) return;
    m.raise(plan.rank, a.op.map.arrived_flag(s.depth, m.rank(), plan.slot),
            layout::make_word(s.epoch, 0));
  });
}

// With several rounds a token is fetched when it turns out to have a message in this one.
BRAID_HD inline bool fetches_ahead(const DispatchArgs& a) {
  return a.rules.experts.num_rounds == 1;
}

// Whether a token has a message in this round.
BRAID_HD inline bool sends_in_round(const DispatchArgs& a, const ChoicePlan* plans, int round) {
  for (int choice = 0; choice < a.topk.k; ++choice) {
    if (plans[choice].leads() && plans[choice].message_round == round) return true;
  }
  return false;
}

// The worker's tokens. The last warp plans one token while the one before it sends another and the
// rest encode a third: one barrier a token. A token's flags are raised when the next one has been
// staged, so that its way to the destinations is not waited for idly.
template <Machine M>
BRAID_HD void send_tokens(M& m, const DispatchArgs& a, const SendTables& tables, Range tokens,
                          const Sending& s) {
  const int hidden = a.op.map.shape.hidden;
  const int encoders = max_of(m.num_warps() - 2, 1);
  const bool plans_them = m.warp() == m.num_warps() - 1;
  const bool sends_them = m.warp() == max_of(m.num_warps() - 2, 0);
  int turn = 0;
  const ChoicePlan* earlier = nullptr;
  for (std::int64_t token = tokens.begin; token < tokens.end; ++token) {
    ChoicePlan* plans = tables.plans + turn * a.topk.k;
    turn = turn == layout::kPlannedTokens - 1 ? 0 : turn + 1;
    if (plans_them) {
      plan_token(m, a, tables, s, plans, token);
      if (token + 1 < tokens.end) read_token(m, a, tables, s.round, token + 1);
    }
    bool sends = true;
    if (!fetches_ahead(a)) {
      m.sync_worker();
      sends = sends_in_round(a, plans, s.round);
      if (sends && m.thread() == 0) m.fetch(a.format, a.x + token * hidden, hidden);
    }
    if (sends) {
      const auto staged = m.stage_encoded(a.format, a.x + token * hidden, hidden, encoders);
      if (m.thread() == 0 && fetches_ahead(a) && token + 2 < tokens.end) {
        m.fetch(a.format, a.x + (token + 2) * hidden, hidden);
      }
      if (sends_them) {
        if (earlier != nullptr) raise_arrived(m, a, s, earlier);
        send_row(m, a, s, plans, staged);
      }
      earlier = plans;
    } else {
      // Later plans would be written over those of a message still on its way.
      if (sends_them && earlier != nullptr) raise_arrived(m, a, s, earlier);
      earlier = nullptr;
    }
  }
  if (sends_them && earlier != nullptr) raise_arrived(m, a, s, earlier);
}

// All of a round's send but its end.
template <Machine M>
BRAID_HD std::uint32_t send_messages(M& m, const DispatchArgs& a, int round) {
  const auto tables = SendTables::of(m, a);
  const int hidden = a.op.map.shape.hidden;
  const std::uint32_t epoch = epoch_of_send(a.op, record_of(a.op).dispatch_epoch, round);
  const Range tokens = share_of(a.topk.num_tokens, m.worker(), m.num_workers());
  if (m.thread() == 0 && fetches_ahead(a)) {
    for (std::int64_t token = tokens.begin; token < tokens.end && token < tokens.begin + 2;
         ++token) {
      m.fetch(a.format, a.x + token * hidden, hidden);
    }
  }
  if (m.warp() == m.num_warps() - 1 && tokens.size() > 0) {
    read_token(m, a, tables, round, tokens.begin);
  }
  count_routes(m, a, tables, tokens.begin);
  await_depth(m, a.op, epoch, WaitTag{Operation::kDispatchSend, round, 0}, a.waited_ns);
  m.sync_worker();
  if (m.failed()) return epoch;
  send_notices(m, a, tables, round, epoch);
  send_tokens(
      m, a, tables, tokens,
      {round, epoch, depth_of(a.op, epoch), operation_id(epoch, Phase::kDispatchSend, round),
       MessageShape::of(a.format, hidden)});
  return epoch;
}

}  // namespace detail

// One round's send. Every worker of the rank runs it; collective over the worker.
template <Machine M>
BRAID_HD void dispatch_send(M& m, const DispatchArgs& a, int round) {
  const std::uint32_t epoch = detail::send_messages(m, a, round);
  m.sync_worker();
  if (m.warp() != 0 || !last_of(m, a.op, Phase::kDispatchSend)) return;
  end_send(m, a.op,
           {layout::Signal::kDispatch, Phase::kDispatchSend, round, epoch,
            &record_of(a.op).dispatch_epoch});
}

}  // namespace braid::protocol
