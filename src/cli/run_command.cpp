#include <vector>

#include "app/layer_rank.hpp"
#include "app/run.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"
#include "cli/ranks_of_command.hpp"
#include "cli/table.hpp"

namespace braid::cli {

int execute(const RunCommand& command, const CommandLine& line) {
  JsonFile json(command.json);
  const app::LayerCase layer = app::load_case(command.options);
  const app::RankWork work = [&](Group& group) {
    return app::run_layer_rank(group, command.options, layer);
  };
  const auto report = [&](const std::vector<app::RankResult>& results) {
    const app::RunReport made = app::make_report(command.options, layer, results);
    publish(json, to_json(made), to_table(made));
    return made.verified ? 0 : 1;
  };
  return execute_ranks(command.options.communication, line, work, report);
}

}  // namespace braid::cli
