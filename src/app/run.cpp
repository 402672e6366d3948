#include "app/run.hpp"

#include "app/limits.hpp"
#include "model/compare.hpp"
#include "model/reference.hpp"

namespace braid::app {
namespace {

std::vector<float> dense(const LayerCase& layer, const model::ReferenceOptions& options = {}) {
  return model::compute_reference(layer.layer, layer.hidden_states.data(), layer.num_tokens,
                                  options);
}

}  // namespace

RunReport make_report(const RunOptions& options, const LayerCase& layer,
                      const std::vector<RankResult>& results) {
  const CommunicationOptions& communication = options.communication;
  Summary summary = summarize(results);
  RunReport report;
  report.options = options;
  report.options.tokens = static_cast<int>(layer.num_tokens);
  report.options.layer_index = layer.layer.index;
  report.shape = layer.shape;
  report.family = model::to_string(layer.layer.config.family);
  report.reference = layer.reference;
  report.repeats_equal = summary.repeats_equal;
  report.time = summary.time;
  report.traffic = summary.traffic;
  report.tokens_per_expert = std::move(summary.tokens_per_expert);
  report.output_sha256 = summary.output_sha256;

  const double reference_diff = layer.expected.empty()
                                    ? model::diff(summary.output, dense(layer))
                                    : model::diff(summary.output, layer.expected);
  report.comparisons.push_back(
      {layer.reference, reference_diff, reference_limit(communication, kFfnFp8Limit)});
  if (communication.dispatch != DispatchFormat::kBf16) {
    model::ReferenceOptions rounded;
    rounded.round_row = [format = communication.dispatch](const std::uint16_t* row,
                                                          std::int64_t hidden, float* seen) {
      round_row(format, row, static_cast<int>(hidden), seen);
    };
    report.comparisons.push_back({"dense_f32_rounded_tokens",
                                  model::diff(summary.output, dense(layer, rounded)),
                                  rounded_limit(communication)});
  }
  report.verified = all_hold(report.comparisons) && report.repeats_equal;
  return report;
}

}  // namespace braid::app
