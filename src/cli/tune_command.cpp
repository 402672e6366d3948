#include <unistd.h>

#include <cstdio>

#include "app/tune.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"
#include "cli/table.hpp"

namespace braid::cli {

int execute(const TuneCommand& command) {
  JsonFile json(command.json);
  TextFile plot("--plot", command.plot);
  // One line that is written over where somebody watches, a line a step where nobody does.
  const char* const ending = ::isatty(STDERR_FILENO) != 0 ? "\r\033[K" : "\n";
  const auto progress = [&](int done, int all, const std::string& what) {
    std::fprintf(stderr, "%3d %%  %s%s", 100 * done / all, what.c_str(), ending);
  };
  const std::vector<app::Tuned> tuned = app::tune(command.options, progress);
  if (!command.plot.empty()) plot.write(app::plot(command.options, tuned));
  publish(json, to_json(command.options, tuned), to_table(command.options, tuned));
  return 0;
}

}  // namespace braid::cli
