// Runs a function on every rank of a group, each in a thread of its own, and keeps what it threw.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "braid/error.hpp"

namespace braid::testing {

struct Outcome {
  std::string sentence;  // what the rank's function threw; "" for nothing
  ErrorCode code = ErrorCode::kInternal;
  std::chrono::steady_clock::duration time{};
};

inline std::vector<Outcome> on_ranks(int num_ranks, const std::function<void(int)>& function) {
  std::vector<Outcome> outcomes(static_cast<std::size_t>(num_ranks));
  std::vector<std::jthread> threads;
  for (int rank = 0; rank < num_ranks; ++rank) {
    threads.emplace_back([&, rank] {
      Outcome& outcome = outcomes[static_cast<std::size_t>(rank)];
      const auto start = std::chrono::steady_clock::now();
      try {
        function(rank);
      } catch (const Error& error) {
        outcome.sentence = error.what();
        outcome.code = error.code();
      }
      outcome.time = std::chrono::steady_clock::now() - start;
    });
  }
  threads.clear();
  return outcomes;
}

inline void expect_all_well(const std::vector<Outcome>& outcomes) {
  for (const auto& outcome : outcomes) EXPECT_EQ(outcome.sentence, "");
}

}  // namespace braid::testing
