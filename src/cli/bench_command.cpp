#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <vector>

#include "app/bench.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"
#include "cli/ranks_of_command.hpp"
#include "cli/table.hpp"

namespace braid::cli {
namespace {

// How far the bench has come, on standard error: one line that is written over on a terminal, else
// a new line every two seconds.
class ProgressLine {
 public:
  void operator()(int done, int of) {
    const auto now = std::chrono::steady_clock::now();
    const auto interval = std::chrono::milliseconds(terminal_ ? 100 : 2000);
    const bool last = done == of;
    if (now - shown_ < interval && !(last && written_)) return;
    shown_ = now;
    written_ = true;
    if (terminal_) {
      std::fprintf(stderr, "\riteration %d of %d%s", done, of, last ? "\n" : "");
    } else {
      std::fprintf(stderr, "iteration %d of %d\n", done, of);
    }
  }

 private:
  bool terminal_ = ::isatty(STDERR_FILENO) == 1;
  bool written_ = false;
  std::chrono::steady_clock::time_point shown_ = std::chrono::steady_clock::now();
};

}  // namespace

int execute(const BenchCommand& command, const CommandLine& line) {
  JsonFile json(command.json);
  const app::BenchCase bench = app::load_bench(command.options);
  ProgressLine progress;  // called by rank 0 alone
  const app::RankWork work = [&](Group& group) {
    return app::run_bench_rank(group, command.options, bench, std::ref(progress));
  };
  const auto report = [&](const std::vector<app::RankResult>& results) {
    const app::BenchReport made = app::make_report(command.options, bench, results);
    publish(json, to_json(made), to_table(made));
    return made.verified ? 0 : 1;
  };
  return execute_ranks(command.options.communication, line, work, report);
}

}  // namespace braid::cli
