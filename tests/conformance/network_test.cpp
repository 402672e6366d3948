// The protocol over a network that reorders: puts arrive late, in random order, on another thread.
#include <gtest/gtest.h>

#include <atomic>

#include "conformance/rank_run.hpp"
#include "support/ranks.hpp"
#include "support/reordering_transport/reordering_transport.hpp"

namespace braid::conformance {
namespace {

class Network : public ::testing::TestWithParam<Topology> {};

TEST_P(Network, ReorderedPutsChangeNothing) {
  const Topology topology = GetParam();
  const std::vector<Case> cases = pairwise_cases();
  const auto failures = testing::run_ranks(topology, {}, [&](Group& plain) {
    Group group = testing::with_reordering(plain, 17 + static_cast<std::uint64_t>(plain.rank()));
    RankRun run(group, buffer_options(topology));
    std::uint64_t seed = 1;
    for (const Case& c : cases) {
      for (const Routing routing : {Routing::kRandom, Routing::kFull, Routing::kEmptyRanks}) {
        const std::string difference = run.run(c, routing, seed++);
        if (!difference.empty()) throw std::runtime_error(c.name() + ": " + difference);
      }
      const std::string difference = run.run_two_in_flight(c, seed++);
      if (!difference.empty()) throw std::runtime_error(c.name() + " in flight: " + difference);
    }
  });
  for (std::size_t rank = 0; rank < failures.size(); ++rank) {
    EXPECT_EQ(failures[rank], "") << "rank " << rank;
  }
}

INSTANTIATE_TEST_SUITE_P(Conformance, Network,
                         ::testing::Values(Topology{2, 1}, Topology{4, 2}, Topology{4, 1},
                                           Topology{8, 4}),
                         [](const auto& instance) {
                           return "ranks" + std::to_string(instance.param.num_ranks) + "_nodes" +
                                  std::to_string(instance.param.num_nodes());
                         });

#if !defined(__SANITIZE_THREAD__)  // the broken network is a race by design
TEST(Network, ASignalThatOvertakesItsPutsIsNoticed) {
  const Topology topology{2, 1};
  GroupOptions options;
  options.timeout_ms = 2000;
  std::atomic<bool> noticed{false};
  const auto failures = testing::run_ranks(topology, options, [&](Group& plain) {
    Group group = testing::with_reordering(plain, 3, testing::SignalOrder::kAnyTime);
    RankRun run(group, buffer_options(topology));
    Case c;
    for (std::uint64_t seed = 1; seed < 200 && !noticed; ++seed) {
      if (!run.run(c, Routing::kFull, seed).empty()) noticed = true;
    }
  });
  // A row that was not there yet, or a count that was waited for in vain: either is noticed.
  for (const std::string& failure : failures) noticed = noticed || !failure.empty();
  EXPECT_TRUE(noticed);
}
#endif

}  // namespace
}  // namespace braid::conformance
