#include "app/predict.hpp"

#include <algorithm>
#include <numeric>

#include "app/options.hpp"
#include "base/check.hpp"
#include "base/math.hpp"

namespace braid::app {
namespace {

constexpr int kDefaultShare = 16;  // a phase beside GEMMs gets one of so many SMs: they fill a card
constexpr int kDefaultBatchSms = 3;        // single-batch overlap's combine send on Hopper
constexpr int kDefaultThroughputSms = 20;  // two-batch overlap's communication

// most_experts: 0 for any.
int least_sms(int experts, int most_experts) {
  return most_experts == 0 ? 1 : ceil_div(experts, most_experts);
}

// Ranks, tokens, formats.
void check_size(const PredictOptions& options, const ModelShape& shape) {
  constexpr std::int64_t kMostChoices = std::int64_t{1} << 28;
  const std::int64_t ranks = std::int64_t{options.nodes} * options.ranks_per_node;
  require(ranks <= shape.experts && shape.experts % ranks == 0,
          "--nodes {} of --ranks-per-node {} don't divide the {} experts of {}", options.nodes,
          options.ranks_per_node, shape.experts, shape.name);
  const std::int64_t choices = ranks * shape.top_k;
  require(options.tokens >= 1 && options.tokens <= kMostChoices / choices,
          "--tokens is {}, but must be from 1 to {} for {} ranks and top-{}", options.tokens,
          kMostChoices / choices, ranks, shape.top_k);
  constexpr int kMostLayers = 100;
  require(options.layers <= kMostLayers, "--layers is {}, but must be from 1 to {}", options.layers,
          kMostLayers);
  CommunicationOptions communication;
  communication.ranks = options.topology().num_ranks;
  communication.ranks_per_node = options.ranks_per_node;
  communication.dispatch = options.dispatch;
  communication.combine = options.combine;
  check(communication, {shape.hidden, shape.experts, shape.top_k});
}

// A rank's top-k table.
std::vector<std::int64_t> choices(const PredictOptions& options, const ModelShape& shape,
                                  int rank) {
  if (options.routing != PredictRouting::kBalanced) {
    const auto popularity =
        options.routing == PredictRouting::kZipf ? Popularity::kZipf : Popularity::kUniform;
    return random_routing(popularity, shape.experts, shape.top_k, options.tokens, options.seed,
                          rank)
        .topk_idx;
  }
  // Through all experts in turn, in an order in which a token's experts are as far apart as
  // different ones of a random choice: a shuffle that is the same on every rank.
  Random random(options.seed, 0);
  std::vector<std::int64_t> order(static_cast<std::size_t>(shape.experts));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (int i = shape.experts - 1; i > 0; --i) {
    std::swap(order[static_cast<std::size_t>(i)],
              order[static_cast<std::size_t>(random.below(i + 1))]);
  }
  std::vector<std::int64_t> table(static_cast<std::size_t>(options.tokens * shape.top_k));
  for (std::size_t i = 0; i < table.size(); ++i) {
    table[i] = order[(static_cast<std::size_t>(rank) * table.size() + i) % order.size()];
  }
  return table;
}

}  // namespace

PredictRouting parse_predict_routing(const std::string& text) {
  for (const auto routing :
       {PredictRouting::kBalanced, PredictRouting::kUniform, PredictRouting::kZipf}) {
    if (text == to_string(routing)) return routing;
  }
  fail(ErrorCode::kInvalidArgument, "routing is '{}', but must be balanced, uniform or zipf", text);
}

const char* to_string(PredictRouting routing) noexcept {
  switch (routing) {
    case PredictRouting::kBalanced: return "balanced";
    case PredictRouting::kUniform: return "uniform";
    case PredictRouting::kZipf: return "zipf";
  }
  return "unknown";
}

predict::Path parse_path(const std::string& text) {
  if (text == "direct" || text == "auto") return predict::Path::kDirect;
  if (text == "layered") return predict::Path::kLayered;
  fail(ErrorCode::kInvalidArgument, "path is '{}', but must be direct, layered or auto", text);
}

const char* to_string(predict::Path path) noexcept {
  return path == predict::Path::kDirect ? "direct" : "layered";
}

Predictor::Predictor(const PredictOptions& options) {
  layer_.device = load_hardware_profile(options.profile);
  layer_.protocol = load_protocol_profile(options.protocol);
  layer_.shape = load_model_shape(options.shape);
  layer_.dispatch = options.dispatch;
  layer_.combine = options.combine;
  layer_.context = options.context;
  check_size(options, layer_.shape);
  options_ = resolved(options);
  const Topology topology = options.topology();
  topk_idx_.reserve(static_cast<std::size_t>(topology.num_ranks) *
                    static_cast<std::size_t>(options.tokens * layer_.shape.top_k));
  for (int rank = 0; rank < topology.num_ranks; ++rank) {
    const std::vector<std::int64_t> chosen = choices(options, layer_.shape, rank);
    topk_idx_.insert(topk_idx_.end(), chosen.begin(), chosen.end());
  }
}

PredictOptions Predictor::resolved(const PredictOptions& options) const {
  PredictOptions all = options;
  const int device = layer_.device.sms;
  const int local = layer_.shape.experts / std::max(1, options.topology().num_ranks);
  if (all.rounds == 0) all.rounds = default_rounds(all.schedule, local);
  const int few = std::max(1, device / kDefaultShare);
  if (all.send_sms == 0) all.send_sms = std::max(few, least_send_sms(all.rounds));
  if (all.receive_sms == 0) {
    all.receive_sms = std::max({few, all.send_sms, least_receive_sms(all.rounds)});
  }
  if (all.comm_sms == 0) {
    all.comm_sms = std::min(all.schedule == "sbo" ? kDefaultBatchSms : kDefaultThroughputSms,
                            std::max(1, device / 4));
  }
  if (all.program.empty()) {
    all.program = default_program({.shared_expert = layer_.shape.shared_width > 0});
  }
  if (all.delta_stages < 0) all.delta_stages = find_program(all.program).delta_stages;
  if (all.fan_out == FanOut::kAuto) all.fan_out = layer_.protocol.fan_out;
  if (!all.reduce) {
    // Block signals, and rows that are summed in rounds bit for bit, need the token's rank.
    all.reduce = all.schedule == "sbo" ? Reduce::kTokenRank : layer_.protocol.reduce;
  }
  return all;
}

int Predictor::least_send_sms(int rounds) const {
  return least_sms(layer_.shape.experts / rounds, layer_.protocol.send_experts_per_sm);
}

int Predictor::least_receive_sms(int rounds) const {
  return least_sms(layer_.shape.experts / rounds, layer_.protocol.receive_experts_per_sm);
}

void Predictor::check_rounds(const PredictOptions& all) const {
  const auto check_least = [&](const char* option, int sms, int least) {
    require(sms >= least, "{} is {}, but {} needs {} for rounds of {} experts", option, sms,
            layer_.protocol.name, least, layer_.shape.experts / all.rounds);
  };
  check_least("--send-sms", all.send_sms, least_send_sms(all.rounds));
  // Method 4 receives its dispatch in one go, with the device.
  if (all.schedule == "peo-4") return;
  check_least("--recv-sms", all.receive_sms, least_receive_sms(all.rounds));
}

LayerParts Predictor::parts(const PredictOptions& all) const {
  return {.device_sms = layer_.device.sms,
          .shared_expert = layer_.shape.shared_width > 0,
          .reduce = *all.reduce};
}

predict::TrafficRules Predictor::rules(int rounds, Reduce reduce) const {
  const Topology topology = options_.topology();
  return {.topology = topology,
          .experts = {layer_.shape.experts, topology.num_ranks, rounds},
          .fan_out = options_.fan_out,
          .path = options_.path,
          .reduce = reduce};
}

std::vector<predict::Traffic> Predictor::traffic(const predict::TrafficRules& rules,
                                                 int micro_batches) {
  std::vector<predict::Traffic> all;
  const int tokens = options_.tokens, k = layer_.shape.top_k;
  for (int batch = 0; batch < micro_batches; ++batch) {
    const int begin = batch == 0 ? 0 : tokens / 2;
    const int end = micro_batches == 1 || batch == 1 ? tokens : tokens / 2;
    predict::Traffic& traffic = all.emplace_back(rules);
    for (int rank = 0; rank < rules.topology.num_ranks; ++rank) {
      layout::TopK topk;
      topk.idx = topk_idx_.data() + (static_cast<std::size_t>(rank) * tokens + begin) * k;
      topk.num_tokens = end - begin;
      topk.k = k;
      topk.num_experts = layer_.shape.experts;
      traffic.add_rank(rank, topk);
    }
  }
  return all;
}

predict::Question Predictor::question(const PredictOptions& options) {
  const PredictOptions all = resolved(options);
  const int local = layer_.shape.experts / all.topology().num_ranks;
  require(all.rounds >= 1 && local % all.rounds == 0,
          "--rounds is {}, but must divide the {} experts of a rank", all.rounds, local);
  const bool halves = all.schedule == "tbo";
  require(!halves || all.tokens >= 2, "--tokens is {}, but two-batch overlap needs at least 2",
          all.tokens);
  predict::Question question;
  question.layer = layer_;
  if (is_per_expert(all.schedule)) check_rounds(all);
  question.schedule = make_schedule(all, parts(all));
  question.traffic = traffic(rules(all.rounds, *all.reduce), halves ? 2 : 1);
  question.whole = traffic(rules(1, *all.reduce), 1);
  if (halves) question.layers = all.layers;
  question.sequential = make_sequential(all, parts(all));
  return question;
}

}  // namespace braid::app
