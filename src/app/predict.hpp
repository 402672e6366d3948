// Predicting a layer's time with a schedule on a machine that isn't there.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "app/random.hpp"
#include "braid/overlap.hpp"
#include "predict/predict.hpp"

namespace braid::app {

// kBalanced: every expert is chosen as often as every other, as far as the number of choices
// allows; the others as in app/random.hpp.
enum class PredictRouting : std::uint8_t { kBalanced, kUniform, kZipf };

struct PredictOptions {
  std::string profile = "h20";  // a name or a file, as the next two
  std::string protocol = "deepep_v1";
  std::string shape = "deepseek-v3";
  int nodes = 2;
  int ranks_per_node = 8;
  int tokens = 128;                     // on each rank
  std::string schedule = "sequential";  // one of kSchedules
  int rounds = 0;                       // 0: 4 with per-expert overlap where it divides, else 1
  // SMs; 0: the builder's own, or what suits the device.
  int send_sms = 0, receive_sms = 0, up_gemm_sms = 0, down_gemm_sms = 0;
  int block_rows = 64;
  int comm_sms = 0;
  std::string program;  // two-batch overlap; empty: the shape's decode
  int delta_stages = -1;
  int layers = 3;  // that two-batch overlap runs through, one behind another
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

inline constexpr const char* kSchedules = "sequential|peo-1|peo-2|peo-3|peo-4|sbo|tbo";
// Throw kInvalidArgument listing what there is.
void check_schedule(const std::string& name);
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
  Schedule schedule(const PredictOptions& options) const;

  PredictOptions options_;
  predict::LayerCase layer_;
  // Every rank's choices, [rank][token][k].
  std::vector<std::int32_t> topk_idx_;
};

}  // namespace braid::app
