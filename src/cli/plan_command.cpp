#include "cli/commands.hpp"
#include "cli/output.hpp"
#include "cli/table.hpp"

namespace braid::cli {

int execute(const PlanCommand& command) {
  JsonFile json(command.json);
  app::check(command.options);
  const app::PlanOptions& options = command.options;
  const MemoryPlan plan =
      options.mode == app::Mode::kHighThroughput
          ? HighThroughputBuffer::plan(options.topology, options.high_throughput())
          : Buffer::plan(options.topology, options.buffer);
  publish(json, to_json(command.options, plan), to_table(command.options, plan));
  return 0;
}

}  // namespace braid::cli
