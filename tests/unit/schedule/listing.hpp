// A schedule as lines that can be held against a published list.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "braid/error.hpp"
#include "braid/schedule.hpp"

namespace braid::test {

using Lines = std::vector<std::string>;

// "gemm up_gemm 0/2 116": lane, operation, round of how many, SMs; in the order of starting.
inline Lines listing(const Schedule& schedule) {
  Lines lines;
  for (const Operation& op : schedule.operations) {
    std::string line = schedule.lanes[static_cast<std::size_t>(op.lane)].name + " ";
    line += op.kind == OperationKind::kCustom ? op.name : to_string(op.kind);
    if (op.num_rounds > 1) line += fmt::format(" {}/{}", op.round, op.num_rounds);
    lines.push_back(line + fmt::format(" {}", op.sms));
  }
  return lines;
}

// "down_gemm 0/2 > combine_send 0/2", "~>" for tiles: edges that are not a lane's own order.
inline Lines waits(const Schedule& schedule) {
  Lines lines;
  for (const Edge& edge : schedule.edges) {
    lines.push_back(describe(schedule, edge.from) +
                    (edge.kind == EdgeKind::kTiles ? " ~> " : " > ") + describe(schedule, edge.to));
  }
  return lines;
}

template <class Call>
std::string refusal(Call call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
    return error.what();
  }
  return "accepted";
}

inline bool says(const std::string& sentence, const Lines& parts) {
  bool all = true;
  for (const std::string& part : parts) {
    all = all && sentence.find(part) != std::string::npos;
    EXPECT_NE(sentence.find(part), std::string::npos) << sentence << "\n  has no " << part;
  }
  return all;
}

}  // namespace braid::test
