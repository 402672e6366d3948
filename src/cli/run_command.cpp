#include <fmt/format.h>

#include <vector>

#include "app/layer_rank.hpp"
#include "app/run.hpp"
#include "app/run_schedules.hpp"
#include "base/check.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"
#include "cli/ranks_of_command.hpp"
#include "cli/table.hpp"

namespace braid::cli {
namespace {

void check_timelines(const RunCommand& command) {
  const bool asked = !command.trace.empty() || !command.html.empty();
  require(!asked || command.options.communication.mode == app::Mode::kLowLatency,
          "--trace or --html is given, but --mode {} runs without a schedule",
          to_string(command.options.communication.mode));
  check_files({{"--json", command.json}, {"--trace", command.trace}, {"--html", command.html}});
}

std::string title_of(const app::RunReport& report) {
  const Topology topology = report.options.communication.topology();
  return fmt::format("{} on the CPU, {} nodes of {}, {} tokens in all: measured",
                     report.options.layer, topology.num_nodes(), topology.ranks_per_node,
                     report.options.tokens);
}

}  // namespace

int execute(const RunCommand& command, const CommandLine& line) {
  check_timelines(command);
  JsonFile json(command.json);
  TextFile trace("--trace", command.trace), html("--html", command.html);
  const app::LayerCase layer = app::load_case(command.options);
  const app::RunOptions options = app::resolved(command.options, layer);
  const app::RankWork work = [&](Group& group) {
    return app::run_layer_rank(group, options, layer);
  };
  const auto report = [&](const std::vector<app::RankResult>& results) {
    const app::RunReport made = app::make_report(options, layer, results);
    if (!command.trace.empty()) trace.write(to_chrome_trace(made.timelines));
    if (!command.html.empty()) html.write(to_html(title_of(made), made.timelines));
    publish(json, to_json(made), to_table(made));
    return made.verified ? 0 : 1;
  };
  return execute_ranks(options.communication, line, work, report);
}

}  // namespace braid::cli
