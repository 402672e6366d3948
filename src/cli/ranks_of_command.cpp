#include "cli/ranks_of_command.hpp"

#include <algorithm>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <string>

#include "base/check.hpp"
#include "cli/failure_pipe.hpp"
#include "runtime/launch.hpp"

namespace braid::cli {
namespace {

constexpr int kFailedRank = 3;  // exit status of a rank that told its failure

// After a failure the other ranks find out by their own time-outs; this much later they are ended.
constexpr std::int64_t kGraceMs = 2000;

int be_one_rank(const app::CommunicationOptions& options, const app::RankWork& work,
                const Report& report) {
  try {
    const auto results = app::run_as_this_rank(options, work);
    return results ? report(*results) : 0;
  } catch (...) {
    FailurePipe::tell(*options.launched, app::current_failure());
    return kFailedRank;
  }
}

// "rank 2 was ended by signal 9 (Killed)", or "" where no rank was.
std::string name_ended_by_signal(const std::vector<ProcessResult>& results) {
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    const ProcessResult& result = results[rank];
    if (result.signal == 0 || result.killed) continue;
    return fmt::format("rank {} was ended by signal {} ({})", rank, result.signal,
                       ::strsignal(result.signal));
  }
  return "";
}

[[noreturn]] void fail_as_ranks_did(const std::vector<ProcessResult>& results,
                                    const std::vector<app::Failure>& failures) {
  const std::string ended = name_ended_by_signal(results);
  if (!failures.empty()) {
    const app::Failure cause = app::root_cause(failures);
    if (ended.empty()) throw Error(cause.code, cause.sentence);
    fail(ErrorCode::kPeerFailed, "{}; another rank says: {}", ended, cause.sentence);
  }
  if (!ended.empty()) fail(ErrorCode::kPeerFailed, "{}", ended);
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    if (results[rank].well()) continue;
    fail(ErrorCode::kPeerFailed, "rank {} {}", rank,
         results[rank].killed ? std::string("did not end in time and was killed")
                              : fmt::format("ended with status {}", results[rank].exit_code));
  }
  fail(ErrorCode::kInternal, "no rank failed");
}

int launch(const app::CommunicationOptions& options, const CommandLine& line) {
  FailurePipe pipe;
  std::vector<std::string> argv(line.argv, line.argv + line.argc);
  argv[0] = std::filesystem::read_symlink("/proc/self/exe").string();
  argv.push_back(app::kLaunchedOption);
  argv.push_back(std::to_string(pipe.write_end()));
  LaunchOptions launch_options;
  launch_options.after_failure_ms = std::int64_t{1000} * options.timeout_seconds + kGraceMs;
  const Topology topology = options.topology();
  const auto results =
      run_processes(topology.num_ranks, topology.ranks_per_node, argv, launch_options);
  const std::vector<app::Failure> failures = pipe.read();
  // Rank 0 ends with 1 where it reported a result that is not verified.
  const auto was_well = [&](const ProcessResult& result) {
    return result.well() || (&result == results.data() && result.exit_code == 1);
  };
  if (failures.empty() && std::all_of(results.begin(), results.end(), was_well)) {
    return results.front().exit_code;
  }
  fail_as_ranks_did(results, failures);
}

}  // namespace

int execute_ranks(const app::CommunicationOptions& options, const CommandLine& line,
                  const app::RankWork& work, const Report& report) {
  if (options.launched) return be_one_rank(options, work, report);
  if (options.processes) return launch(options, line);
  return report(app::run_as_threads(options, work));
}

}  // namespace braid::cli
