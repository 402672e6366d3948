#include <fmt/format.h>

#include "app/predict.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"
#include "cli/table.hpp"
#include "executor/timeline.hpp"

namespace braid::cli {
namespace {

// Sequential and, where it is another, the chosen schedule.
std::vector<Timeline> both(const predict::Question& question,
                           const predict::Prediction& prediction) {
  std::vector<Timeline> timelines = {timeline(question.sequential, prediction.sequential_played)};
  if (question.schedule.name != question.sequential.name) {
    timelines.push_back(timeline(question.schedule, prediction.played));
  }
  return timelines;
}

std::string title_of(const predict::Question& question, const app::PredictOptions& options) {
  return fmt::format("{} on {}, {} nodes of {}, {} tokens a rank, {}: predicted",
                     question.layer.shape.name, question.layer.device.name, options.nodes,
                     options.ranks_per_node, options.tokens, question.layer.protocol.name);
}

}  // namespace

int execute(const PredictCommand& command) {
  check_files({{"--json", command.json},
               {"--trace", command.trace},
               {"--html", command.html},
               {"--svg", command.svg}});
  JsonFile json(command.json);
  TextFile trace("--trace", command.trace), html("--html", command.html), svg("--svg", command.svg);
  app::Predictor predictor(command.options);
  const predict::Question question = predictor.question(command.options);
  const app::PredictOptions options = predictor.resolved(command.options);
  const predict::Prediction prediction = predict::predict(question);
  const std::vector<Timeline> timelines = both(question, prediction);
  const std::string title = title_of(question, options);
  if (!command.trace.empty()) trace.write(to_chrome_trace(timelines));
  if (!command.html.empty()) html.write(to_html(title, timelines));
  if (!command.svg.empty()) svg.write(to_svg(title, timelines));
  publish(json, to_json(options, question, prediction), to_table(options, question, prediction));
  return 0;
}

}  // namespace braid::cli
