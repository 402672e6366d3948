#include "app/tune.hpp"

#include <algorithm>
#include <sstream>

#include "base/check.hpp"

namespace braid::app {
namespace {

constexpr int kMostRounds = 16;

std::vector<std::string> all_schedules() {
  std::vector<std::string> names;
  std::istringstream all(kSchedules);
  for (std::string each; std::getline(all, each, '|');) {
    if (each != "sequential") names.push_back(each);
  }
  return names;
}

// What is tried of a schedule. Budgets are finer where they are few: there an SM counts most.
std::vector<PredictOptions> choices(const PredictOptions& base, const Predictor& predictor) {
  const predict::LayerCase& layer = predictor.layer();
  std::vector<PredictOptions> list;
  const int device = layer.device.sms;
  const int local = layer.shape.experts / base.topology().num_ranks;
  const auto add = [&](int rounds, int sms) {
    if (sms > device / 3) return;
    PredictOptions& one = list.emplace_back(base);
    one.rounds = rounds;
    one.send_sms = one.comm_sms = sms;
    one.receive_sms = std::max(sms, predictor.least_receive_sms(rounds));
    one.up_gemm_sms = one.down_gemm_sms = 0;
  };
  if (base.schedule == "sbo") {
    for (const int sms : {1, 2, 3, 4, 6, 8, 12, 16, 24}) add(1, sms);
  } else if (base.schedule == "tbo") {
    add(1, 20);
    for (int rounds = 2; rounds <= std::min(4, local); ++rounds) {
      if (local % rounds == 0) add(rounds, 8);
    }
  } else {
    for (int rounds = 2; rounds <= std::min(kMostRounds, local); ++rounds) {
      if (local % rounds != 0) continue;
      for (const int sms : {1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 24}) {
        if (sms >= predictor.least_send_sms(rounds)) add(rounds, sms);
      }
    }
  }
  return list;
}

Tried try_one(Predictor& predictor, const PredictOptions& options) {
  const predict::Prediction prediction = predict::predict(predictor.question(options));
  return {.options = predictor.resolved(options),
          .total_us = prediction.total_us,
          .sequential_us = prediction.sequential_us,
          .speedup = prediction.speedup,
          .hidden_fraction = prediction.hidden_fraction,
          .bound_speedup = prediction.bound_speedup};
}

}  // namespace

std::vector<Tuned> tune(const TuneOptions& options, const TuneProgress& progress) {
  require(!options.tokens.empty(), "--tokens names no batch size");
  const auto schedules = options.schedules.empty() ? all_schedules() : options.schedules;
  for (const std::string& schedule : schedules) check_schedule(schedule);
  std::vector<Tuned> tuned;
  const int all = static_cast<int>(options.tokens.size() * schedules.size());
  int done = 0;
  for (const int tokens : options.tokens) {
    PredictOptions base = options.base;
    base.tokens = tokens;
    Predictor predictor(base);
    Tuned& result = tuned.emplace_back();
    result.tokens = tokens;
    for (const std::string& schedule : schedules) {
      progress(done++, all, fmt::format("{} tokens, {}", tokens, schedule));
      base.schedule = schedule;
      if (schedule == "tbo" && tokens < 2) continue;
      std::vector<Tried> tried;
      for (const PredictOptions& choice : choices(base, predictor)) {
        tried.push_back(try_one(predictor, choice));
      }
      result.num_tried += static_cast<int>(tried.size());
      const auto best = std::max_element(
          tried.begin(), tried.end(),
          [](const Tried& a, const Tried& b) { return a.saved_us() < b.saved_us(); });
      if (best != tried.end()) result.best_of.push_back(*best);
    }
    require(!result.best_of.empty(),
            "none of these schedules can be made for {} ranks and {} tokens",
            base.topology().num_ranks, tokens);
    std::stable_sort(result.best_of.begin(), result.best_of.end(),
                     [](const Tried& a, const Tried& b) { return a.saved_us() > b.saved_us(); });
  }
  return tuned;
}

}  // namespace braid::app
