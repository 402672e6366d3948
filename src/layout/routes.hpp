// The walk over a routing: which copy of which token goes to which slot of which rank, in which
// round, and where its rows will stand. Dispatch walks it on every machine; prediction and tests
// walk it on the host.
//
// Everything follows from counting over the source's own top-k table in token order: the row of a
// (token, expert) is the number of earlier tokens that name the expert; the slot of a message is
// the number of messages to that rank in earlier rounds plus those of earlier tokens in its round.
// So places need no atomics at the destination and are the same every time.
#pragma once

#include <cstdint>

#include "layout/shape.hpp"
#include "topology/experts.hpp"

namespace braid::layout {

// A top-k table as the caller gave it. A value outside [0, E) is no route.
struct TopK {
  const void* idx = nullptr;
  bool is_int64 = false;
  int num_tokens = 0;
  int k = 0;
  int num_experts = 0;

  // As it is in the table.
  BRAID_HD std::int64_t value(std::int64_t token, int choice) const {
    const std::int64_t at = token * k + choice;
    return is_int64 ? static_cast<const std::int64_t*>(idx)[at]
                    : static_cast<const std::int32_t*>(idx)[at];
  }
  BRAID_HD constexpr bool may_be(std::int64_t value) const {
    return value >= -1 && value < num_experts;
  }

  BRAID_HD int expert(std::int64_t token, int choice) const {
    const std::int64_t at = token * k + choice;
    // As unsigned, what is negative is out of range too.
    if (is_int64) {
      const std::uint64_t value = static_cast<const std::uint64_t*>(idx)[at];
      return value < static_cast<std::uint64_t>(num_experts) ? static_cast<int>(value) : -1;
    }
    const std::uint32_t value = static_cast<const std::uint32_t*>(idx)[at];
    return value < static_cast<std::uint32_t>(num_experts) ? static_cast<int>(value) : -1;
  }
};

// One token's experts, read where they are: [choice] is an expert, or -1.
struct TopKRow {
  const TopK* topk = nullptr;
  std::int64_t token = 0;
  BRAID_HD int operator[](int choice) const { return topk->expert(token, choice); }
};

struct RouteRules {
  ExpertMap experts;        // with dispatch's number of rounds
  bool per_expert = false;  // a message for each expert, not for each rank
};

// Where one choice of one token goes.
struct ChoicePlan {
  std::int32_t expert = -1;  // -1: no route; nothing else is set then
  std::int32_t rank = 0;
  std::int32_t message_round = 0;  // first round of its message's experts; the message goes then
  std::int32_t first_choice = 0;   // of this token that names the same expert
  std::int32_t leader = 0;         // first choice of its message
  std::int32_t position = 0;       // among the choices of its message
  std::int32_t named = 0;          // choices of its message
  std::uint32_t row = 0;
  std::uint32_t slot = 0;  // of its message; set where leads

  BRAID_HD bool leads() const { return expert >= 0 && position == 0; }
  BRAID_HD bool repeats(int choice) const { return first_choice != choice; }
};

// What is counted: rows by expert, messages by (rank, round).
struct RouteCounts {
  std::uint32_t* rows = nullptr;      // [E]
  std::uint32_t* messages = nullptr;  // [R][G]

  BRAID_HD static constexpr std::int64_t size(const ExpertMap& experts) {
    return experts.num_experts + std::int64_t{experts.num_ranks} * experts.num_rounds;
  }
  BRAID_HD static RouteCounts at(std::uint32_t* memory, const ExpertMap& experts) {
    RouteCounts counts;
    counts.rows = memory;
    counts.messages = memory + experts.num_experts;
    return counts;
  }
};

// The part of a choice's plan that follows from its token alone. experts[choice] is one of the
// token's k experts, -1 where there is none. It divides once, not once a choice: every thread of a
// GPU's worker is here for a choice or two of its own, and divisions were most of its time.
template <class Experts>
BRAID_HD ChoicePlan plan_from_token(const RouteRules& rules, const Experts& experts, int k,
                                    int choice) {
  ChoicePlan plan;
  plan.expert = experts[choice];
  if (plan.expert < 0) return plan;
  const int num_local = rules.experts.num_local();
  plan.rank = plan.expert / num_local;
  plan.first_choice = choice;
  plan.leader = choice;
  // The experts that share a message are neighbors.
  const int first = rules.per_expert ? plan.expert : plan.rank * num_local;
  const int end = first + (rules.per_expert ? 1 : num_local);
  int lowest = plan.expert;
  for (int other = 0; other < k; ++other) {
    const int expert = experts[other];
    if (expert < first || expert >= end) continue;
    ++plan.named;
    if (other < choice) ++plan.position;
    plan.leader = min_of(plan.leader, other);
    if (expert == plan.expert) plan.first_choice = min_of(plan.first_choice, other);
    lowest = min_of(lowest, expert);
  }
  if (rules.experts.num_rounds > 1) {
    plan.message_round = rules.experts.round_of_local(lowest - plan.rank * num_local);
  }
  return plan;
}

// Adds one choice to the counts. add(counter, amount) is the machine's atomic add, since choices
// and tokens are counted side by side.
template <class Add>
BRAID_HD void count_choice(const RouteRules& rules, const ChoicePlan& plan, int choice,
                           const RouteCounts& counts, Add&& add) {
  if (plan.expert < 0) return;
  if (!plan.repeats(choice)) add(counts.rows + plan.expert, 1U);
  if (!plan.leads()) return;
  add(counts.messages + std::int64_t{plan.rank} * rules.experts.num_rounds + plan.message_round,
      1U);
}

// A message for each expert: this token's earlier messages to the rank in the message's round.
template <class Experts>
BRAID_HD std::uint32_t earlier_messages(const RouteRules& rules, const Experts& experts, int choice,
                                        const ChoicePlan& plan) {
  std::uint32_t messages = 0;
  for (int other = 0; other < choice; ++other) {
    if (experts[other] < 0 || rules.experts.rank_of(experts[other]) != plan.rank) continue;
    if (rules.experts.round_of(experts[other]) != plan.message_round) continue;
    bool leads = true;
    for (int first = 0; first < other; ++first) leads = leads && experts[first] != experts[other];
    if (leads) ++messages;
  }
  return messages;
}

// The rest of a plan: its places. `before` counts all earlier tokens, `total` all tokens (its
// messages are read where there are several rounds).
template <class Experts>
BRAID_HD void place_choice(const RouteRules& rules, const Experts& experts, int choice,
                           const RouteCounts& before, const RouteCounts& total, ChoicePlan& plan) {
  if (plan.expert < 0) return;
  plan.row = before.rows[plan.expert];
  const std::int64_t first = std::int64_t{plan.rank} * rules.experts.num_rounds;
  plan.slot = before.messages[first + plan.message_round];
  for (int round = 0; round < plan.message_round; ++round) {
    plan.slot += total.messages[first + round];
  }
  if (rules.per_expert) plan.slot += earlier_messages(rules, experts, choice, plan);
}

}  // namespace braid::layout
