#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "schedule/drawing.hpp"
#include "schedule/order.hpp"

namespace braid {
namespace {

using schedule::escaped;

constexpr int kBoxWidth = 122, kBoxHeight = 40, kColumn = 138, kRow = 72, kLeft = 90, kTop = 40;

// The step at which each operation could run if all took one step: what it waits for is to its
// left, or above and below where it takes tiles.
std::vector<int> columns(const Schedule& schedule) {
  const auto before = schedule::predecessors(schedule);
  std::vector<int> columns(schedule.operations.size());
  for (const int operation : start_order(schedule)) {
    const auto at = static_cast<std::size_t>(operation);
    for (const int from : before.after[at]) {
      columns[at] = std::max(columns[at], columns[static_cast<std::size_t>(from)] + 1);
    }
    for (const int from : before.tiles[at]) {
      columns[at] = std::max(columns[at], columns[static_cast<std::size_t>(from)]);
    }
  }
  return columns;
}

}  // namespace

std::string to_svg(const Schedule& schedule) {
  const std::vector<int> column = columns(schedule);
  const int width =
      kLeft +
      kColumn * (1 + (column.empty() ? 0 : *std::max_element(column.begin(), column.end())));
  const int height = kTop + kRow * static_cast<int>(schedule.lanes.size());
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" font-family=\"sans-serif\" font-size=\"11\">\n<rect width=\"{0}\" height=\"{1}\" "
      "fill=\"#fff\"/>\n<text x=\"8\" y=\"20\" font-size=\"14\">{2}</text>\n",
      width, height, escaped(schedule.name));
  const auto out = std::back_inserter(svg);
  const auto x = [&](int op) { return kLeft + kColumn * column[static_cast<std::size_t>(op)]; };
  const auto y = [&](int op) {
    return kTop + kRow * schedule.operations[static_cast<std::size_t>(op)].lane;
  };
  for (std::size_t lane = 0; lane < schedule.lanes.size(); ++lane) {
    fmt::format_to(out, "<text x=\"8\" y=\"{}\">{}</text>\n",
                   kTop + kRow * static_cast<int>(lane) + kBoxHeight / 2,
                   escaped(schedule.lanes[lane].name));
  }
  for (const Edge& edge : schedule.edges) {
    fmt::format_to(out, "<line x1=\"{}\" y1=\"{}\" x2=\"{}\" y2=\"{}\" stroke=\"#777\"{}/>\n",
                   x(edge.from) + kBoxWidth / 2, y(edge.from) + kBoxHeight / 2,
                   x(edge.to) + kBoxWidth / 2, y(edge.to) + kBoxHeight / 2,
                   edge.kind == EdgeKind::kTiles ? " stroke-dasharray=\"4 3\"" : "");
  }
  for (int i = 0; i < static_cast<int>(schedule.operations.size()); ++i) {
    const Operation& op = schedule.operations[static_cast<std::size_t>(i)];
    const std::string name = op.kind == OperationKind::kCustom ? op.name : to_string(op.kind);
    const std::string round =
        op.num_rounds > 1 ? fmt::format("round {}, ", op.round) : std::string();
    fmt::format_to(out,
                   "<rect x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\" rx=\"3\" fill=\"{}\" "
                   "stroke=\"{}\"><title>{}</title></rect>\n<text x=\"{}\" y=\"{}\">{}</text>\n"
                   "<text x=\"{}\" y=\"{}\" fill=\"#333\">{}{}</text>\n",
                   x(i), y(i), kBoxWidth, kBoxHeight, schedule::fill(op),
                   schedule::border(op.micro_batch), escaped(describe(schedule, i)), x(i) + 5,
                   y(i) + 16, escaped(name), x(i) + 5, y(i) + 32, round,
                   op.sms == 0 ? "any SMs" : fmt::format("{} SMs", op.sms));
  }
  return svg + "</svg>\n";
}

}  // namespace braid
