#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "app/tune.hpp"

namespace braid::app {
namespace {

constexpr int kWidth = 640, kHeight = 400, kLeft = 60, kRight = 20, kTop = 40, kBottom = 50;

// Batch sizes on a logarithmic axis, speedups on a plain one.
class Axes {
 public:
  explicit Axes(const std::vector<Tuned>& tuned) {
    for (const Tuned& each : tuned) {
      least_ = std::min(least_, std::log2(each.tokens));
      most_ = std::max(most_, std::log2(each.tokens));
      top_ = std::max(top_, each.best_of.front().bound_speedup);
      bottom_ = std::min(bottom_, each.best_of.front().speedup);
    }
    bottom_ = std::floor(bottom_ * 10) / 10;
    top_ = std::ceil(top_ * 10 + 0.1) / 10;
  }
  double x(int tokens) const {
    const double at = most_ > least_ ? (std::log2(tokens) - least_) / (most_ - least_) : 0.5;
    return kLeft + at * (kWidth - kLeft - kRight);
  }
  double y(double speedup) const {
    return kHeight - kBottom - (speedup - bottom_) / (top_ - bottom_) * (kHeight - kTop - kBottom);
  }
  double bottom() const { return bottom_; }
  double top() const { return top_; }

 private:
  double least_ = 64, most_ = 0, bottom_ = 1, top_ = 1;
};

template <class Value>
void add_line(std::string& svg, const Axes& axes, const std::vector<Tuned>& tuned, Value value) {
  for (const Tuned& each : tuned) {
    fmt::format_to(std::back_inserter(svg), "{:.1f},{:.1f} ", axes.x(each.tokens),
                   axes.y(value(each.best_of.front())));
  }
}

}  // namespace

std::string plot(const TuneOptions& options, const std::vector<Tuned>& tuned) {
  const Axes axes(tuned);
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{0}\" height=\"{1}\" "
      "fill=\"#fff\"/>\n<text x=\"{2}\" y=\"22\" font-size=\"14\">{3} on {4}, {5} ranks: speedup "
      "over sequential, predicted</text>\n",
      kWidth, kHeight, kLeft, options.base.shape, options.base.profile,
      options.base.topology().num_ranks);
  const auto out = std::back_inserter(svg);
  for (double at = axes.bottom(); at <= axes.top() + 1e-9; at += 0.1) {
    fmt::format_to(out,
                   "<line x1=\"{}\" x2=\"{}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"#ddd\"/><text "
                   "x=\"{}\" y=\"{:.1f}\" text-anchor=\"end\">{:.1f}</text>\n",
                   kLeft, kWidth - kRight, axes.y(at), axes.y(at), kLeft - 6, axes.y(at) + 4, at);
  }
  svg += "<polyline fill=\"none\" stroke=\"#999\" stroke-dasharray=\"5 4\" points=\"";
  add_line(svg, axes, tuned, [](const Tried& best) { return best.bound_speedup; });
  svg += "\"/>\n<polyline fill=\"none\" stroke=\"#1667c0\" stroke-width=\"2\" points=\"";
  add_line(svg, axes, tuned, [](const Tried& best) { return best.speedup; });
  svg += "\"/>\n";
  for (const Tuned& each : tuned) {
    const Tried& best = each.best_of.front();
    const double x = axes.x(each.tokens), y = axes.y(best.speedup);
    fmt::format_to(out,
                   "<circle cx=\"{0:.1f}\" cy=\"{1:.1f}\" r=\"3.5\" fill=\"#1667c0\"/><text "
                   "x=\"{0:.1f}\" y=\"{2:.1f}\" text-anchor=\"middle\">{3}</text><text "
                   "x=\"{0:.1f}\" y=\"{4}\" text-anchor=\"middle\">{5}</text>\n",
                   x, y, y + 18, best.options.schedule, kHeight - kBottom + 18, each.tokens);
  }
  fmt::format_to(out,
                 "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">tokens a rank; dashed: perfect "
                 "overlap</text>\n</svg>\n",
                 kWidth / 2, kHeight - 10);
  return svg;
}

}  // namespace braid::app
