#include "schedule/builder.hpp"

namespace braid {
namespace {

using schedule::Builder;
using Kind = OperationKind;

// Lane 0 has all compute. The second lane has communication in high-throughput mode, and with
// rounds the experts' GEMMs.
constexpr int kCurrent = 0, kBeside = 1;

class TwoBatch {
 public:
  explicit TwoBatch(const TwoBatchOptions& options)
      : options_(options),
        high_throughput_(options.programs[0].high_throughput),
        builder_("tbo", {.device_sms = options.device_sms, .reduce = options.reduce},
                 lanes(options)) {}

  Schedule build() {
    std::array<std::vector<Stage>, 2> stages;
    for (std::size_t i = 0; i < 2; ++i) {
      stages[i] = cut_stages(options_.programs[i], options_.layers);
    }
    require(stages[0].size() == stages[1].size(),
            "programs {} and {} have {} and {} stages, but must have as many as each other",
            options_.programs[0].name, options_.programs[1].name, stages[0].size(),
            stages[1].size());
    const int delta =
        options_.delta_stages >= 0 ? options_.delta_stages : options_.programs[0].delta_stages;
    std::array<int, 2> next{};
    for (const int batch : alternate_stages(static_cast<int>(stages[0].size()), delta)) {
      const auto at = static_cast<std::size_t>(batch);
      stage_ = next[at]++;
      batch_ = batch;
      const Stage& stage = stages[at][static_cast<std::size_t>(stage_)];
      for (std::size_t i = 0; i < stage.steps.size(); ++i) {
        layer_ = stage.layers[i];
        add_step(stage.steps[i]);
      }
    }
    return builder_.finish();
  }

 private:
  static std::vector<Lane> lanes(const TwoBatchOptions& options) {
    std::vector<Lane> lanes = {{"current"}};
    if (options.programs[0].high_throughput) lanes.push_back({"comm"});
    if (options.rounds > 1) lanes.push_back({"gemm"});
    return lanes;
  }

  void add_step(const ProgramStep& step) {
    switch (step.kind) {
      case StepKind::kOperation: add_current(step, step.operation); break;
      case StepKind::kDispatchA: start(step, Kind::kDispatchSend); break;
      case StepKind::kDispatchB: end(step, {Kind::kDispatchSend, Kind::kDispatchReceive}); break;
      case StepKind::kExperts: experts(step); break;
      case StepKind::kCombineA: start(step, Kind::kCombineSend); break;
      case StepKind::kCombineB: end(step, {Kind::kCombineSend, Kind::kCombineReceive}); break;
      case StepKind::kYield: break;
    }
  }

  Operation operation(const ProgramStep& step, Kind kind) const {
    return {.kind = kind,
            .name = step.name,
            .lane = kCurrent,
            .micro_batch = batch_,
            .layer = layer_,
            .stage = stage_};
  }

  // On lane 0, behind what this micro-batch waits for on the other.
  int add_current(const ProgramStep& step, Kind kind) { return add_current(operation(step, kind)); }
  int add_current(const Operation& op) {
    const int added = builder_.add(op);
    int& waited = waited_[static_cast<std::size_t>(batch_)];
    if (waited >= 0) builder_.after(waited, added);
    waited = -1;
    last_[static_cast<std::size_t>(batch_)] = added;
    return added;
  }

  // dispatch_a, combine_a.
  void start(const ProgramStep& step, Kind send) {
    if (high_throughput_) {
      // Quantizes, and captures the point that the launch waits for.
      captured_[static_cast<std::size_t>(batch_)] = add_current(step, Kind::kCustom);
      return;
    }
    // Where experts run in rounds their GEMMs are on another lane: dispatch has none beside it yet.
    const bool beside_gemms = options_.rounds > 1 && send == Kind::kCombineSend;
    for (int round = 0; round < options_.rounds; ++round) {
      Operation op = operation(step, send);
      op.round = round;
      op.num_rounds = options_.rounds;
      op.sms = beside_gemms && round + 1 < options_.rounds ? options_.comm_sms : builder_.device();
      const int sent = add_current(op);
      if (beside_gemms) builder_.after(computed_[static_cast<std::size_t>(round)], sent);
    }
  }

  struct Phases {
    Kind send, receive;
  };
  // dispatch_b, combine_b.
  void end(const ProgramStep& step, const Phases& phases) {
    Operation op = operation(step, phases.receive);
    if (high_throughput_) {
      op.lane = kBeside;
      op.sms = options_.comm_sms;
      op.kind = phases.send;
      // Behind the point that the a-step captured, not behind what lane 0 has been given since.
      builder_.after(captured_[static_cast<std::size_t>(batch_)], builder_.add(op));
      op.kind = phases.receive;
      waited_[static_cast<std::size_t>(batch_)] = builder_.add(op);
      return;
    }
    op.sms = builder_.device();
    // With rounds, dispatch's receives come one by one, each before its GEMM (experts()).
    if (options_.rounds == 1 || phases.receive == Kind::kCombineReceive) add_current(op);
  }

  void experts(const ProgramStep& step) {
    computed_.clear();
    for (int round = 0; round < options_.rounds; ++round) {
      Operation op = operation(step, Kind::kUpGemm);
      op.round = round;
      op.num_rounds = options_.rounds;
      const bool beside = high_throughput_ || options_.rounds > 1;
      op.sms = builder_.device() - (beside ? options_.comm_sms : 0);
      if (options_.rounds > 1) receive_round(op);
      for (const Kind kind : {Kind::kUpGemm, Kind::kActivation, Kind::kDownGemm}) {
        op.kind = kind;
        if (options_.rounds == 1) {
          add_current(op);
          continue;
        }
        op.lane = kBeside;
        const int added = builder_.add(op);
        if (kind == Kind::kUpGemm) builder_.after(last_[static_cast<std::size_t>(batch_)], added);
        if (kind == Kind::kDownGemm) computed_.push_back(added);
      }
    }
  }

  void receive_round(const Operation& gemm) {
    Operation op = gemm;
    op.kind = Kind::kDispatchReceive;
    op.name = "dispatch_b";
    op.lane = kCurrent;
    op.sms = gemm.round == 0 ? builder_.device() : options_.comm_sms;
    add_current(op);
  }

  TwoBatchOptions options_;
  bool high_throughput_;
  Builder builder_;
  int batch_ = 0, stage_ = 0, layer_ = 0;
  std::array<int, 2> waited_{-1, -1};    // on the other lane, by lane 0's next of this micro-batch
  std::array<int, 2> last_{-1, -1};      // on lane 0
  std::array<int, 2> captured_{-1, -1};  // of the last a-step, high throughput
  std::vector<int> computed_;            // the down GEMM of each round
};

}  // namespace

std::vector<int> alternate_stages(int num_stages, int delta_stages) {
  require(delta_stages >= 0 && delta_stages <= num_stages,
          "delta_stages is {}, but must be from 0 to the number of stages, {}", delta_stages,
          num_stages);
  std::vector<int> order(static_cast<std::size_t>(delta_stages), 0);
  for (int i = delta_stages; i < num_stages; ++i) {
    order.push_back(0);
    order.push_back(1);
  }
  order.insert(order.end(), static_cast<std::size_t>(delta_stages), 1);
  return order;
}

Schedule two_batch_overlap(const TwoBatchOptions& options) {
  require(options.programs[0].high_throughput == options.programs[1].high_throughput,
          "programs {} and {} communicate in different modes", options.programs[0].name,
          options.programs[1].name);
  require(options.rounds >= 1, "rounds is {}, but must be at least 1", options.rounds);
  require(options.rounds == 1 || !options.programs[0].high_throughput,
          "rounds is {}, but program {} communicates in high-throughput mode, which has 1",
          options.rounds, options.programs[0].name);
  require(options.comm_sms >= 1 && options.comm_sms < options.device_sms,
          "comm_sms is {}, but must be from 1 to {}, one less than the device has",
          options.comm_sms, options.device_sms - 1);
  return TwoBatch(options).build();
}

}  // namespace braid
