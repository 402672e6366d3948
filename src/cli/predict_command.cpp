#include "app/predict.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"
#include "cli/table.hpp"

namespace braid::cli {

int execute(const PredictCommand& command) {
  JsonFile json(command.json);
  app::Predictor predictor(command.options);
  const predict::Question question = predictor.question(command.options);
  const app::PredictOptions options = predictor.resolved(command.options);
  const predict::Prediction prediction = predict::predict(question);
  publish(json, to_json(options, question, prediction), to_table(options, question, prediction));
  return 0;
}

}  // namespace braid::cli
