#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "executor/timeline.hpp"
#include "schedule/drawing.hpp"

namespace braid {
namespace {

constexpr int kWidth = 960, kLeft = 80, kRight = 20, kLaneHeight = 26, kHeading = 24, kTop = 30;
constexpr double kLetter = 6;  // width of a letter, about

using schedule::escaped;

void add_span(std::string& svg, const TimelineSpan& span, double x, double y, double width) {
  const auto out = std::back_inserter(svg);
  fmt::format_to(
      out,
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\" fill=\"{}\" "
      "stroke=\"{}\" stroke-width=\"0.7\"><title>{}: {:.1f} to {:.1f} us</title></rect>\n",
      x, y, std::max(width, 0.5), kLaneHeight - 4, span.color, schedule::border(span.micro_batch),
      escaped(span.name), span.start_us, span.end_us);
  const std::string label =
      span.num_rounds > 1 ? fmt::format("{} {}", span.kind, span.round) : span.name;
  const auto fits = static_cast<std::size_t>(std::max(0.0, (width - 4) / kLetter));
  if (fits < 3) return;
  fmt::format_to(out, "<text x=\"{:.1f}\" y=\"{:.1f}\">{}</text>\n", x + 3, y + 15,
                 escaped(label.substr(0, fits)));
}

}  // namespace

std::string to_svg(const std::string& title, const std::vector<Timeline>& timelines) {
  double end = 1;
  int height = kTop;
  for (const Timeline& timeline : timelines) {
    end = std::max(end, timeline.end_us());
    height += kHeading + kLaneHeight * static_cast<int>(timeline.lanes.size());
  }
  const double scale = (kWidth - kLeft - kRight) / end;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" font-family=\"sans-serif\" font-size=\"10\">\n<rect width=\"{0}\" height=\"{1}\" "
      "fill=\"#fff\"/>\n<text x=\"8\" y=\"18\" font-size=\"13\">{2}</text>\n",
      kWidth, height + 8, escaped(title));
  const auto out = std::back_inserter(svg);
  double y = kTop;
  for (const Timeline& timeline : timelines) {
    fmt::format_to(out, "<text x=\"8\" y=\"{:.1f}\" font-weight=\"bold\">{}: {:.0f} us</text>\n",
                   y + 14, escaped(timeline.name), timeline.end_us());
    y += kHeading;
    for (std::size_t lane = 0; lane < timeline.lanes.size(); ++lane) {
      fmt::format_to(out, "<text x=\"16\" y=\"{:.1f}\">{}</text>\n",
                     y + kLaneHeight * static_cast<double>(lane) + 15, timeline.lanes[lane]);
    }
    for (const TimelineSpan& span : timeline.spans) {
      add_span(svg, span, kLeft + span.start_us * scale, y + kLaneHeight * span.lane,
               (span.end_us - span.start_us) * scale);
    }
    y += kLaneHeight * static_cast<double>(timeline.lanes.size());
  }
  return svg + "</svg>\n";
}

}  // namespace braid
