// What operations of a micro-batch hand each other: write-once, and errors that name the value.
#include <gtest/gtest.h>

#include "braid/error.hpp"
#include "braid/executor.hpp"
#include "unit/executor/expect_error.hpp"

namespace braid::test {
namespace {

TEST(State, HandsOnWhatWasSet) {
  State state("micro-batch 0 in layer 1");
  state.set("count", 3);
  EXPECT_EQ(state.get<int>("count"), 3);
  EXPECT_TRUE(state.has("count"));
  EXPECT_EQ(state.pop<int>("count"), 3);
  EXPECT_FALSE(state.has("count"));
  state.set("count", 4);
  EXPECT_EQ(state.names(), std::vector<std::string>{"count"});
}

TEST(State, RefusesASecondValueByName) {
  State state("micro-batch 0 in layer 1");
  state.serve("gate");
  state.set("routes", 1);
  expect_error(ErrorCode::kRefused, {"gate", "'routes'", "micro-batch 0 in layer 1", "once"},
               [&] { state.set("routes", 2); });
  EXPECT_EQ(state.get<int>("routes"), 1);
}

TEST(State, NamesWhatIsMissingAndWhoAsked) {
  State state("micro-batch 1 in layer 0");
  state.serve("combine_send 2/4");
  for (const auto& ask : {std::function<void()>([&] { state.get<int>("handle"); }),
                          std::function<void()>([&] { state.pop<int>("handle"); })}) {
    expect_error(ErrorCode::kRefused,
                 {"combine_send 2/4", "'handle'", "micro-batch 1 in layer 0", "nothing has set"},
                 ask);
  }
  state.set("handle", 1.5);
  expect_error(ErrorCode::kRefused, {"combine_send 2/4", "'handle'", "another type"},
               [&] { state.get<int>("handle"); });
}

TEST(State, NamesWhatIsLeftBesideWhatMayBe) {
  State state("micro-batch 1 in layer 0");
  state.set("x", 1);
  state.set("handle", 2);
  state.set("rows", 3);
  expect_error(ErrorCode::kRefused, {"micro-batch 1 in layer 0", "'handle', 'rows'"}, [&] {
    state.clear({"x", "routes"});
  });
  EXPECT_TRUE(state.names().empty());
  state.set("x", 1);
  EXPECT_NO_THROW(state.clear({"x"}));
}

}  // namespace
}  // namespace braid::test
