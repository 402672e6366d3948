// Braid beside packing, MPI_Alltoallv and unpacking: dispatch plus combine of the same tokens in
// the same processes. Started plainly, it starts itself again under mpirun.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "base/check.hpp"
#include "base/math.hpp"
#include "bench_vs_mpi/comparison.hpp"
#include "bench_vs_mpi/report.hpp"

namespace braid::bench {
namespace {

constexpr int kSittings = 4;
constexpr int kNumWarmUps = 4;  // of each sitting; every batch is met, and verified

// Does not return: the process becomes mpirun, with one process of this program for each rank.
[[noreturn]] void become_mpirun(const Problem& problem, int argc, char** argv) {
  char path[4096];
  const ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  BRAID_CHECK(length > 0 && length < static_cast<ssize_t>(sizeof path));
  // There may be fewer cores than ranks: they are not bound, and yield when idle.
  std::vector<std::string> command = {"mpirun", "--allow-run-as-root", "--oversubscribe"};
  for (const char* word : {"--bind-to", "none", "--mca", "mpi_yield_when_idle", "1", "-np"}) {
    command.push_back(word);
  }
  command.push_back(std::to_string(problem.ranks));
  command.push_back(std::string(path, static_cast<std::size_t>(length)));
  command.push_back("--under-mpirun");
  command.insert(command.end(), argv + 1, argv + argc);
  std::vector<char*> arguments;
  for (std::string& argument : command) arguments.push_back(argument.data());
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  fail(ErrorCode::kMissing, "mpirun can't be started ({}): apt-get install openmpi-bin brings it",
       std::strerror(errno));
}

class Progress {
 public:
  Progress(bool shown, int total) : shown_(shown), total_(total) {}
  void advance(const char* against) {
    ++done_;
    if (!shown_ || (done_ % 10 != 0 && done_ != total_)) return;
    fmt::print(stderr, "bench_vs_mpi: against {}: {} of {} pairs\n", against, done_, total_);
  }

 private:
  bool shown_;
  int total_;
  int done_ = 0;
};

// Thrown on all ranks at once.
struct Disagreement : Error {
  explicit Disagreement(const std::string& mismatch)
      : Error(ErrorCode::kInternal, "the sides disagree: " + mismatch) {}
};

void verify(const Comparison& comparison, const Contestant& ours, const Contestant& theirs) {
  const std::string mismatch = comparison.mismatch(ours, theirs);
  if (!mismatch.empty()) throw Disagreement(mismatch);
}

using Factory = std::unique_ptr<Exchange> (*)(const Problem&, MPI_Comm);

std::unique_ptr<Contestant> make(const Problem& problem, MPI_Comm comm, Factory factory) {
  return std::make_unique<Contestant>(problem, factory(problem, comm));
}

// Pairs follow each other directly: a third side between them would leave the caches in another
// state for the side that comes next. The sides are made anew for each sitting, in turns, since
// which physical pages a side gets moves its times by some percent, and the side that is made
// first gets the more scattered ones.
std::vector<Pair> compare(Comparison& comparison, const Problem& problem, MPI_Comm comm,
                          Factory their_factory) {
  std::vector<Pair> pairs;
  Progress progress(rank_in(comm) == 0, problem.pairs);
  for (int sitting = 0; sitting < kSittings; ++sitting) {
    std::unique_ptr<Contestant> ours;
    std::unique_ptr<Contestant> theirs;
    if (sitting % 2 == 0) ours = make(problem, comm, make_braid);
    theirs = make(problem, comm, their_factory);
    if (ours == nullptr) ours = make(problem, comm, make_braid);
    for (int i = 0; i < kNumWarmUps; ++i) {
      comparison.run(i, *ours, *theirs);
      verify(comparison, *ours, *theirs);
    }
    const Range share = share_of(problem.pairs, sitting, kSittings);
    for (auto i = share.begin; i < share.end; ++i) {
      pairs.push_back(comparison.run(static_cast<int>(i), *ours, *theirs));
      progress.advance(theirs->exchange->name());
    }
    verify(comparison, *ours, *theirs);
  }
  return pairs;
}

// The report is the same on every rank.
Report compare(const Problem& problem, MPI_Comm comm) {
  Comparison comparison(problem, comm);
  Report report{problem, {}, {}};
  report.per_expert = compare(comparison, problem, comm, make_mpi_per_expert);
  report.per_rank = compare(comparison, problem, comm, make_mpi_per_rank);
  return report;
}

// A rank that fails alone ends the others: they would wait for it in MPI.
int run_rank(const Problem& problem) {
  int provided = 0;
  MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
  int ranks = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  int exit_code = 0;
  try {
    require(ranks == problem.ranks, "--ranks is {}, but mpirun started {}", problem.ranks, ranks);
    const Report report = compare(problem, MPI_COMM_WORLD);
    if (rank_in(MPI_COMM_WORLD) == 0) {
      if (!problem.json_path.empty()) write_json(report, problem.json_path);
      fmt::print("{}", to_text(report));
      std::fflush(stdout);
    }
  } catch (const Disagreement& error) {
    if (rank_in(MPI_COMM_WORLD) == 0) fmt::print(stderr, "bench_vs_mpi: {}\n", error.what());
    exit_code = 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_vs_mpi: {}\n", error.what());
    MPI_Abort(MPI_COMM_WORLD, 1);
  }
  MPI_Finalize();
  return exit_code;
}

int run(int argc, char** argv) {
  Problem problem;
  bool under_mpirun = false;
  CLI::App app{"Braid beside packing, MPI_Alltoallv and unpacking, on one host"};
  app.add_option("--ranks", problem.ranks, "processes");
  app.add_option("--hidden", problem.hidden, "hidden size");
  app.add_option("--experts", problem.experts, "experts in all");
  app.add_option("--topk", problem.top_k, "experts of a token");
  app.add_option("--tokens", problem.tokens, "tokens of each rank");
  app.add_option("--pairs", problem.pairs, "measured pairs of each comparison");
  app.add_option("--seed", problem.seed, "of tokens and routing");
  app.add_option("--json", problem.json_path, "write the figures to this file");
  app.add_flag("--under-mpirun", under_mpirun)->group("");
  try {
    app.parse(argc, argv);
    validate(problem);
    if (!problem.json_path.empty()) {
      require(std::ofstream(problem.json_path, std::ios::app).good(),
              "--json names {}, which can't be written", problem.json_path);
    }
    if (!under_mpirun) become_mpirun(problem, argc, argv);
  } catch (const CLI::Success& success) {
    return app.exit(success);
  } catch (const CLI::Error& error) {
    fmt::print(stderr, "bench_vs_mpi: {}\n", error.what());
    return 2;
  } catch (const Error& error) {
    fmt::print(stderr, "bench_vs_mpi: {}\n", error.what());
    return error.code() == ErrorCode::kInvalidArgument ? 2 : 1;
  }
  return run_rank(problem);
}

}  // namespace
}  // namespace braid::bench

int main(int argc, char** argv) { return braid::bench::run(argc, argv); }
