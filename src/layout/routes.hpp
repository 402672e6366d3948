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

  BRAID_HD int expert(std::int64_t token, int choice) const {
    const std::int64_t at = token * k + choice;
    const std::int64_t value = is_int64 ? static_cast<const std::int64_t*>(idx)[at]
                                        : static_cast<const std::int32_t*>(idx)[at];
    return value >= 0 && value < num_experts ? static_cast<int>(value) : -1;
  }
};

// One token's experts, read where they are: [choice] is an expert, or -1.
struct TopKRow {
  const TopK* topk = nullptr;
  std::int64_t token = 0;
  BRAID_HD int operator[](int choice) const { return topk->expert(token, choice); }
};

struct RouteRules {
  ExpertMap experts;  // with dispatch's number of rounds
  bool per_expert = false;

  // Choices with the same key share one message.
  BRAID_HD constexpr int key(int expert) const {
    return per_expert ? expert : experts.rank_of(expert);
  }
};

// Where one choice of one token goes.
struct ChoicePlan {
  std::int32_t expert = -1;         // -1: no route; nothing else is set then
  std::int32_t rank = 0;
  std::int32_t round = 0;           // of the expert
  std::int32_t message_round = 0;   // first round of its message's experts; the message goes then
  std::int32_t first_choice = 0;    // of this token that names the same expert
  bool leads = false;               // first choice of its message
  std::uint32_t row = 0;
  std::uint32_t list_pos = 0;
  std::uint32_t slot = 0;           // of its message; set where leads

  BRAID_HD bool repeats(int choice) const { return first_choice != choice; }
};

// What is counted: rows by expert, messages by (rank, round), namings by rank.
struct RouteCounts {
  std::uint32_t* rows = nullptr;      // [E]
  std::uint32_t* messages = nullptr;  // [R][G]
  std::uint32_t* namings = nullptr;   // [R]

  BRAID_HD static constexpr std::int64_t size(const ExpertMap& experts) {
    return experts.num_experts + std::int64_t{experts.num_ranks} * experts.num_rounds +
           experts.num_ranks;
  }
  BRAID_HD static RouteCounts at(std::uint32_t* memory, const ExpertMap& experts) {
    RouteCounts counts;
    counts.rows = memory;
    counts.messages = memory + experts.num_experts;
    counts.namings = counts.messages + std::int64_t{experts.num_ranks} * experts.num_rounds;
    return counts;
  }
};

// The part of a choice's plan that follows from its token alone. experts[choice] is one of the
// token's k experts, -1 where there is none.
template <class Experts>
BRAID_HD ChoicePlan plan_from_token(const RouteRules& rules, const Experts& experts, int k,
                                    int choice) {
  ChoicePlan plan;
  plan.expert = experts[choice];
  if (plan.expert < 0) return plan;
  plan.rank = rules.experts.rank_of(plan.expert);
  plan.round = rules.experts.round_of(plan.expert);
  plan.message_round = plan.round;
  plan.first_choice = choice;
  plan.leads = true;
  const int key = rules.key(plan.expert);
  for (int other = 0; other < k; ++other) {
    const int expert = experts[other];
    if (expert < 0 || other == choice) continue;
    if (other < plan.first_choice && expert == plan.expert) plan.first_choice = other;
    if (rules.key(expert) == key) {
      if (other < choice) plan.leads = false;
      plan.message_round = min_of(plan.message_round, rules.experts.round_of(expert));
    }
  }
  return plan;
}

// Adds one choice to the counts. add(counter, amount) is the machine's atomic add, since choices
// and tokens are counted side by side.
template <class Add>
BRAID_HD void count_choice(const RouteRules& rules, const ChoicePlan& plan, int choice,
                           const RouteCounts& counts, Add&& add) {
  if (plan.expert < 0) return;
  add(counts.namings + plan.rank, 1U);
  if (!plan.repeats(choice)) add(counts.rows + plan.expert, 1U);
  if (plan.leads) {
    add(counts.messages + std::int64_t{plan.rank} * rules.experts.num_rounds + plan.message_round,
        1U);
  }
}

// The rest of a plan: its places. `plans` holds plan_from_token of all k choices; `before` counts
// all earlier tokens, `total` all tokens.
BRAID_HD inline void place_choice(const RouteRules& rules, const ChoicePlan* plans, int choice,
                                  const RouteCounts& before, const RouteCounts& total,
                                  ChoicePlan& plan) {
  if (plan.expert < 0) return;
  plan.row = before.rows[plan.expert];
  plan.list_pos = before.namings[plan.rank];
  const std::int64_t first = std::int64_t{plan.rank} * rules.experts.num_rounds;
  plan.slot = before.messages[first + plan.message_round];
  for (int round = 0; round < plan.message_round; ++round) {
    plan.slot += total.messages[first + round];
  }
  for (int other = 0; other < choice; ++other) {
    if (plans[other].expert < 0 || plans[other].rank != plan.rank) continue;
    ++plan.list_pos;
    if (plans[other].leads && plans[other].message_round == plan.message_round) ++plan.slot;
  }
}

}  // namespace braid::layout
