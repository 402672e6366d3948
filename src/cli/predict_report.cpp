#include "cli/json_report.hpp"
#include "cli/line.hpp"
#include "cli/table.hpp"

namespace braid::cli {
namespace {

Json operations_json(const predict::Question& question, const predict::Played& played) {
  Json list = Json::array();
  for (int op = 0; op < played.num_operations; ++op) {
    const Operation& operation = question.schedule.operations[static_cast<std::size_t>(op)];
    const predict::Span& span = played.at(played.last_rank, op);
    list.push_back(
        {{"name", describe(question.schedule, op)},
         {"lane", question.schedule.lanes[static_cast<std::size_t>(operation.lane)].name},
         {"sms", operation.sms},
         {"round", operation.round},
         {"micro_batch", operation.micro_batch},
         {"layer", operation.layer},
         {"start", span.start_us},
         {"end", span.end_us},
         {"waited", span.waited_us}});
  }
  return list;
}

}  // namespace

Json to_json(const app::PredictOptions& options, const predict::Question& question,
             const predict::Prediction& prediction) {
  return {{"command", "predict"},
          {"profile", question.layer.device.name},
          {"protocol", question.layer.protocol.name},
          {"shape", question.layer.shape.name},
          {"nodes", options.nodes},
          {"ranks_per_node", options.ranks_per_node},
          {"tokens", options.tokens},
          {"schedule", options.schedule},
          {"rounds", options.rounds},
          {"send_sms", options.send_sms},
          {"recv_sms", options.receive_sms},
          {"up_gemm_sms", options.up_gemm_sms},
          {"down_gemm_sms", options.down_gemm_sms},
          {"block_m", options.block_rows},
          {"comm_sms", options.comm_sms},
          {"program", options.program},
          {"delta_stages", options.delta_stages},
          {"path", app::to_string(options.path)},
          {"fan_out", to_string(options.fan_out)},
          {"reduce", to_string(*options.reduce)},
          {"dispatch", to_string(options.dispatch)},
          {"combine", to_string(options.combine)},
          {"routing", app::to_string(options.routing)},
          {"seed", options.seed},
          {"time_us",
           {{"total", prediction.total_us},
            {"dispatch", prediction.dispatch_us},
            {"experts", prediction.experts_us},
            {"combine", prediction.combine_us},
            {"sequential", prediction.sequential_us},
            {"dispatch_alone", prediction.dispatch_alone_us},
            {"combine_alone", prediction.combine_alone_us},
            {"compute_alone", prediction.compute_alone_us}}},
          {"hidden_fraction", prediction.hidden_fraction},
          {"speedup_over_sequential", prediction.speedup},
          {"perfect_overlap_bound", prediction.bound_speedup},
          {"perfect_overlap_us", prediction.bound_us},
          {"operations", operations_json(question, prediction.played)},
          {"build", build_json()}};
}

std::string to_table(const app::PredictOptions& options, const predict::Question& question,
                     const predict::Prediction& prediction) {
  std::string text;
  line(text, "{} on {}, {} node{} of {}, {} tokens a rank, protocol {}", question.layer.shape.name,
       question.layer.device.name, options.nodes, options.nodes == 1 ? "" : "s",
       options.ranks_per_node, options.tokens, question.layer.protocol.name);
  line(text, "schedule {}, {} round{}, path {}, dispatch {} ({}), combine {} (summed at the {})",
       options.schedule, options.rounds, options.rounds == 1 ? "" : "s",
       app::to_string(options.path), to_string(options.dispatch), to_string(options.fan_out),
       to_string(options.combine), to_string(*options.reduce));
  line(text, "\npredicted, microseconds of a layer, of the rank that ends last");
  const auto row = [&](const char* name, double time) {
    line(text, "  {:<26}{:>10.1f}", name, time);
  };
  row("total", prediction.total_us);
  row("dispatch", prediction.dispatch_us);
  row("experts", prediction.experts_us);
  row("combine", prediction.combine_us);
  row("sequential", prediction.sequential_us);
  row("dispatch alone", prediction.dispatch_alone_us);
  row("combine alone", prediction.combine_alone_us);
  row("compute alone", prediction.compute_alone_us);
  row("perfect overlap", prediction.bound_us);
  line(text, "\nspeedup over sequential {:.3f}; perfect overlap would be {:.3f}",
       prediction.speedup, prediction.bound_speedup);
  line(text, "{:.0f} % of the communication hidden", 100 * prediction.hidden_fraction);
  line(text, "\n  {:<34}{:<9}{:>5}{:>10}{:>10}{:>10}", "operation", "lane", "SMs", "start", "end",
       "waited");
  const predict::Played& played = prediction.played;
  for (int op = 0; op < played.num_operations; ++op) {
    const Operation& operation = question.schedule.operations[static_cast<std::size_t>(op)];
    const predict::Span& span = played.at(played.last_rank, op);
    line(text, "  {:<34}{:<9}{:>5}{:>10.1f}{:>10.1f}{:>10.1f}", describe(question.schedule, op),
         question.schedule.lanes[static_cast<std::size_t>(operation.lane)].name,
         operation.sms == 0 ? "any" : std::to_string(operation.sms), span.start_us, span.end_us,
         span.waited_us);
  }
  return text;
}

}  // namespace braid::cli
