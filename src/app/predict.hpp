// Predicting a layer's time with a schedule on a machine that isn't there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/random.hpp"
#include "app/schedules.hpp"
#include "braid/overlap.hpp"
#include "predict/predict.hpp"

namespace braid::app {

// kBalanced: every expert is chosen as often as every other, as far as the number of choices
// allows; the others as in app/random.hpp.
enum class PredictRouting : std::uint8_t { kBalanced, kUniform, kZipf };

struct PredictOptions : ScheduleOptions {
  std::string profile = "h20";  // a name or a file, as the next two
  std::string protocol = "deepep_v1";
  std::string shape = "deepseek-v3";
  int nodes = 2;
  int ranks_per_node = 8;
  int tokens = 128;  // on each rank
  predict::Path path = predict::Path::kDirect;
  FanOut fan_out = FanOut::kAuto;  // kAuto: the protocol's
  std::optional<Reduce> reduce;    // none: the protocol's
  DispatchFormat dispatch = DispatchFormat::kFp8;
  CombineFormat combine = CombineFormat::kBf16;
  int context = 4096;
  PredictRouting routing = PredictRouting::kBalanced;
  std::uint64_t seed = 1;

  Topology topology() const { return {nodes * ranks_per_node, ranks_per_node}; }
};

// Throw kInvalidArgument listing what there is.
PredictRouting parse_predict_routing(const std::string& text);  // balanced, uniform, zipf
const char* to_string(PredictRouting routing) noexcept;
predict::Path parse_path(const std::string& text);  // direct, layered, auto
const char* to_string(predict::Path path) noexcept;

// A question with every default filled in, ready to be answered for other schedules too: what costs
// time, drawing a routing and walking it, is done once a number of rounds.
class Predictor {
 public:
  // Throws kInvalidArgument, kMissing, kFormat for what can't be.
  explicit Predictor(const PredictOptions& options);

  // `options` may differ from the constructor's in everything about the schedule: the method,
  // rounds and budgets.
  predict::Question question(const PredictOptions& options);

  // Fewest SMs that the protocol sends, or receives a dispatch, in so many rounds with.
  int least_send_sms(int rounds) const;
  int least_receive_sms(int rounds) const;

  const predict::LayerCase& layer() const { return layer_; }
  // With the defaults filled in.
  PredictOptions resolved(const PredictOptions& options) const;

 private:
  predict::TrafficRules rules(int rounds, Reduce reduce) const;
  std::vector<predict::Traffic> traffic(const predict::TrafficRules& rules, int micro_batches);
  void check_rounds(const PredictOptions& all) const;
  LayerParts parts(const PredictOptions& options) const;

  PredictOptions options_;
  predict::LayerCase layer_;
  // Every rank's choices, [rank][token][k].
  std::vector<std::int32_t> topk_idx_;
};

}  // namespace braid::app
