// Runs one function on every rank of a thread group, and reports who failed.
#pragma once

#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "braid/group.hpp"

namespace braid::testing {

// By rank: "" or what the rank's function threw.
inline std::vector<std::string> run_ranks(const Topology& topology, const GroupOptions& options,
                                          const std::function<void(Group&)>& function) {
  std::vector<Group> groups = Group::threads(topology, options);
  std::vector<std::string> failures(groups.size());
  std::vector<std::thread> threads;
  for (std::size_t rank = 0; rank < groups.size(); ++rank) {
    threads.emplace_back([&, rank] {
      try {
        function(groups[rank]);
      } catch (const std::exception& error) {
        failures[rank] = error.what();
        if (failures[rank].empty()) failures[rank] = "an exception without a text";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  return failures;
}

}  // namespace braid::testing
