// Timelines as a trace, a page and a drawing.
#include "executor/timeline.hpp"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "braid/overlap.hpp"

namespace braid::test {
namespace {

// A schedule and made-up times: operation i runs from 10 i to 10 i + 5, of which it waits for 2.
struct Example {
  Schedule schedule = per_expert_overlap({.parts = {.device_sms = 78}, .method = 3});
  predict::Played played;

  Example() {
    played.num_ranks = 2;
    played.last_rank = 1;
    played.num_operations = static_cast<int>(schedule.operations.size());
    played.spans.resize(2 * schedule.operations.size());
    for (std::size_t i = 0; i < schedule.operations.size(); ++i) {
      const double start = 10.0 * static_cast<double>(i);
      played.spans[schedule.operations.size() + i] = {start, start + 5, 2};
    }
  }
};

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

TEST(Timeline, IsOfTheRankThatEndedLast) {
  const Example example;
  const Timeline made = timeline(example.schedule, example.played);
  EXPECT_EQ(made.rank, 1);
  ASSERT_EQ(made.spans.size(), example.schedule.operations.size());
  EXPECT_EQ(made.spans[3].start_us, 30);
  EXPECT_EQ(made.end_us(), 10.0 * static_cast<double>(made.spans.size()) - 5);
  EXPECT_EQ(made.lanes, (std::vector<std::string>{"current", "gemm", "comm"}));
}

TEST(Timeline, OfARunHasItsTimes) {
  const Example example;
  std::vector<OperationTime> times(example.schedule.operations.size());
  times[2] = {7, 9};
  const Timeline made = timeline(example.schedule, times, 3);
  EXPECT_EQ(made.rank, 3);
  EXPECT_EQ(made.name, "peo-3");
  ASSERT_EQ(made.spans.size(), times.size());
  EXPECT_EQ(made.spans[2].start_us, 7);
  EXPECT_EQ(made.end_us(), 9);
  EXPECT_EQ(made.spans[2].name, timeline(example.schedule, example.played).spans[2].name);
}

TEST(Trace, HasACompleteEventAnOperationAndANameALane) {
  const Example example;
  const Timeline made = timeline(example.schedule, example.played);
  const auto trace = nlohmann::json::parse(to_chrome_trace({made, made}));
  int complete = 0, names = 0;
  for (const auto& event : trace.at("traceEvents")) {
    if (event.at("ph") == "M") ++names;
    if (event.at("ph") != "X") continue;
    ++complete;
    EXPECT_EQ(event.at("dur"), 5);
    EXPECT_EQ(event.at("args").at("waited_us"), 2);
    EXPECT_LT(event.at("tid").get<int>(), 3);
  }
  EXPECT_EQ(complete, 2 * example.played.num_operations);
  EXPECT_EQ(names, 2 * (1 + 3));
}

TEST(Page, HoldsItsDataAndNeedsNothingElse) {
  const Example example;
  Timeline made = timeline(example.schedule, example.played);
  made.spans[0].name = "</script><b>";
  const std::string page = to_html("a title", {made});
  EXPECT_EQ(count(page, "</script>"), 1U) << "a name must not end the script";
  EXPECT_EQ(count(page, "@DATA@"), 0U);
  for (const char* outside : {"http:", "https:", "src=", "@import", "href="}) {
    EXPECT_EQ(count(page, outside), 0U) << outside;
  }
  EXPECT_EQ(count(page, "\"combine_receive\""), 2U);  // name and kind
}

TEST(Drawing, HasABoxAnOperation) {
  const Example example;
  const Timeline made = timeline(example.schedule, example.played);
  const std::string svg = to_svg("a < b", {made, made});
  EXPECT_EQ(count(svg, "<title>"), 2 * made.spans.size());
  EXPECT_EQ(count(svg, "a &lt; b"), 1U);
}

}  // namespace
}  // namespace braid::test
