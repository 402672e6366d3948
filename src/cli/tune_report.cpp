#include <fmt/format.h>

#include <iterator>

#include "cli/json_report.hpp"
#include "cli/table.hpp"

namespace braid::cli {
namespace {

Json to_json(const app::Tried& tried) {
  return {{"schedule", tried.options.schedule},          {"rounds", tried.options.rounds},
          {"send_sms", tried.options.send_sms},          {"recv_sms", tried.options.receive_sms},
          {"comm_sms", tried.options.comm_sms},          {"total_us", tried.total_us},
          {"sequential_us", tried.sequential_us},        {"saved_us", tried.saved_us()},
          {"speedup_over_sequential", tried.speedup},    {"hidden_fraction", tried.hidden_fraction},
          {"perfect_overlap_bound", tried.bound_speedup}};
}

}  // namespace

Json to_json(const app::TuneOptions& options, const std::vector<app::Tuned>& tuned) {
  Json batches = Json::array();
  for (const app::Tuned& each : tuned) {
    Json best_of = Json::array();
    for (const app::Tried& tried : each.best_of) best_of.push_back(to_json(tried));
    batches.push_back({{"tokens", each.tokens},
                       {"tried", each.num_tried},
                       {"best", to_json(each.best_of.front())},
                       {"best_of_each_schedule", best_of}});
  }
  return {{"command", "tune"},
          {"profile", options.base.profile},
          {"protocol", options.base.protocol},
          {"shape", options.base.shape},
          {"nodes", options.base.nodes},
          {"ranks_per_node", options.base.ranks_per_node},
          {"batches", batches},
          {"build", build_json()}};
}

std::string to_table(const app::TuneOptions& options, const std::vector<app::Tuned>& tuned) {
  std::string text = fmt::format(
      "{} on {}, {} nodes of {}, protocol {}: the best schedule by predicted time saved\n\n"
      "  {:>6}  {:<8}{:>7}{:>6}{:>12}{:>10}{:>9}{:>9}\n",
      options.base.shape, options.base.profile, options.base.nodes, options.base.ranks_per_node,
      options.base.protocol, "tokens", "schedule", "rounds", "SMs", "sequential", "total",
      "speedup", "bound");
  for (const app::Tuned& each : tuned) {
    const app::Tried& best = each.best_of.front();
    const bool per_expert = best.options.schedule.starts_with("peo");
    fmt::format_to(std::back_inserter(text),
                   "  {:>6}  {:<8}{:>7}{:>6}{:>12.1f}{:>10.1f}{:>9.3f}{:>9.3f}\n", each.tokens,
                   best.options.schedule, best.options.rounds,
                   per_expert ? best.options.send_sms : best.options.comm_sms, best.sequential_us,
                   best.total_us, best.speedup, best.bound_speedup);
  }
  return text + "\nmicroseconds of a layer; bound: the speedup of perfect overlap\n";
}

}  // namespace braid::cli
