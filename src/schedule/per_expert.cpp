#include <algorithm>

#include "schedule/builder.hpp"

namespace braid {
namespace {

using schedule::Builder;
using Kind = OperationKind;

constexpr int kCurrent = 0, kGemm = 1, kComm = 2;

class PerExpert {
 public:
  explicit PerExpert(const PerExpertOptions& options)
      : options_(options),
        rounds_(options.rounds),
        last_(options.rounds - 1),
        builder_("peo-" + std::to_string(options.method), options.parts, lanes(options)) {}

  Schedule build() {
    builder_.add_front(options_.parts);
    // Method 3's first receive has another lane and most of the device at once with this one.
    if (options_.method == 3) shared_expert();
    switch (options_.method) {
      case 1: sends_first(); break;
      case 4: one_dispatch(); break;
      default: round_by_round(); break;
    }
    combine();
    return builder_.finish();
  }

 private:
  static std::vector<Lane> lanes(const PerExpertOptions& options) {
    std::vector<Lane> lanes = {{"current"}, {"gemm"}};
    if (options.method == 3) lanes.push_back({"comm"});
    return lanes;
  }

  // Method 1: every send runs before any GEMM can, so each has the device.
  void sends_first() {
    for (int round = 0; round < rounds_; ++round) send(round, builder_.device());
    shared_expert();
    for (int round = 0; round < rounds_; ++round) {
      receive(round, round == 0 ? builder_.device() : options_.receive_sms);
      gemm(round);
    }
  }

  // Methods 2 and 3.
  void round_by_round() {
    for (int round = 0; round < rounds_; ++round) {
      send(round, round == 0 ? builder_.device() : options_.send_sms);
      if (round == 0 && options_.method == 2) shared_expert();
      receive(round, round == 0 ? first_receive_sms() : options_.receive_sms);
      gemm(round);
    }
  }

  // Method 4.
  void one_dispatch() {
    builder_.add(Kind::kDispatchSend);
    shared_expert();
    last_receive_ = builder_.add(Kind::kDispatchReceive);
    for (int round = 0; round < rounds_; ++round) gemm(round);
  }

  // While the first tokens are on their way.
  void shared_expert() {
    if (options_.parts.shared_expert) builder_.add(Kind::kSharedExpert);
  }

  int first_receive_sms() const {
    if (options_.method == 2) return builder_.device();
    // The next send runs beside it.
    return options_.budgets == PerExpertBudgets::kVariantB ? builder_.device() / 2
                                                           : builder_.device() - options_.send_sms;
  }

  void send(int round, int sms) {
    last_send_ = builder_.add({.kind = Kind::kDispatchSend,
                               .lane = kCurrent,
                               .sms = sms,
                               .round = round,
                               .num_rounds = rounds_});
  }

  void receive(int round, int sms) {
    last_receive_ = builder_.add({.kind = Kind::kDispatchReceive,
                                  .lane = options_.method == 3 ? kComm : kCurrent,
                                  .sms = sms,
                                  .round = round,
                                  .num_rounds = rounds_});
    if (options_.method == 3) builder_.after(last_send_, last_receive_);
  }

  // What runs beside the GEMM of this round at most.
  int beside(int round) const {
    const int either = std::max(options_.send_sms, options_.receive_sms);
    switch (options_.method) {
      case 4: return round == 0 ? 0 : options_.send_sms;
      // The last two rounds have one of both beside them, not both.
      case 3: return round + 2 < rounds_ ? options_.send_sms + options_.receive_sms : either;
      default: return either;
    }
  }

  void gemm(int round) {
    Operation op{.kind = Kind::kUpGemm, .lane = kGemm, .round = round, .num_rounds = rounds_};
    const int rest = builder_.device() - beside(round);
    require(rest >= 1, "send_sms {} and receive_sms {} leave no SM of {} to the GEMMs",
            options_.send_sms, options_.receive_sms, builder_.device());
    op.sms = options_.up_gemm_sms > 0 ? options_.up_gemm_sms : rest;
    builder_.after(last_receive_, builder_.add(op));
    op.kind = Kind::kActivation;
    builder_.add(op);
    op.kind = Kind::kDownGemm;
    op.sms = options_.down_gemm_sms > 0 ? options_.down_gemm_sms : rest;
    computed_.push_back(builder_.add(op));
  }

  void combine() {
    for (int round = 0; round < rounds_; ++round) {
      const int sent = builder_.add({.kind = Kind::kCombineSend,
                                     .sms = round == last_ ? builder_.device() : options_.send_sms,
                                     .round = round,
                                     .num_rounds = rounds_});
      if (round == 0 && options_.method == 3) builder_.after(last_receive_, sent);
      builder_.after(computed_[static_cast<std::size_t>(round)], sent);
    }
    builder_.add(Kind::kCombineReceive);
  }

  PerExpertOptions options_;
  int rounds_, last_;
  Builder builder_;
  int last_send_ = -1, last_receive_ = -1;
  std::vector<int> computed_;  // the down GEMM of each round
};

}  // namespace

Schedule per_expert_overlap(const PerExpertOptions& options) {
  require(options.method >= 1 && options.method <= 4,
          "method is {}, but per-expert overlap has 1, 2, 3 and 4", options.method);
  require(options.rounds >= 2, "rounds is {}, but per-expert overlap needs at least 2",
          options.rounds);
  const int device = options.parts.device_sms;
  const auto in_range = [&](const char* name, int value, int least) {
    require(value >= least && value <= device, "{} is {}, but must be from {} to the device's {}",
            name, value, least, device);
  };
  in_range("send_sms", options.send_sms, 1);
  in_range("receive_sms", options.receive_sms, 1);
  in_range("up_gemm_sms", options.up_gemm_sms, 0);
  in_range("down_gemm_sms", options.down_gemm_sms, 0);
  return PerExpert(options).build();
}

}  // namespace braid
