// A schedule as text and as a drawing.
#include <gtest/gtest.h>

#include "braid/overlap.hpp"
#include "unit/schedule/listing.hpp"

namespace braid::test {
namespace {

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) {
    ++found;
  }
  return found;
}

TEST(Print, TextHasALineAnOperationAndWhatItWaitsFor) {
  const Schedule schedule = single_batch_overlap({.parts = {.device_sms = 78}});
  const std::string text = to_text(schedule);
  EXPECT_EQ(count(text, "\n"), schedule.operations.size() + 1);
  says(text,
       {"sbo: 8 operations on 2 lanes, 78 SMs", "combine_send", "3 SMs  after 4  by tiles of 5"});
}

TEST(Print, NamesMicroBatchAndLayerWhereThereAreSeveral) {
  TwoBatchOptions options;
  options.programs = {find_program("qwen3-decode"), find_program("qwen3-decode")};
  options.device_sms = 78;
  options.layers = 2;
  const Schedule schedule = two_batch_overlap(options);
  says(to_text(schedule), {"dispatch_send (micro-batch 1, layer 0)", "any SMs"});
  const Schedule rounds = per_expert_overlap({.parts = {.device_sms = 78}});
  says(to_text(rounds), {"combine_send 1/2"});
}

TEST(Print, DrawingHasABoxAnOperationAndALineAnEdge) {
  Schedule schedule = per_expert_overlap({.parts = {.device_sms = 78}, .method = 3});
  schedule.name = "a < b & c";
  const std::string svg = to_svg(schedule);
  EXPECT_EQ(count(svg, "<title>"), schedule.operations.size());
  EXPECT_EQ(count(svg, "<line"), schedule.edges.size());
  EXPECT_EQ(count(svg, "a &lt; b &amp; c"), 1U);
  EXPECT_TRUE(svg.starts_with("<svg")) << svg;
  EXPECT_TRUE(svg.ends_with("</svg>\n"));
}

}  // namespace
}  // namespace braid::test
