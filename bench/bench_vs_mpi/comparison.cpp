#include "bench_vs_mpi/comparison.hpp"

#include <fmt/format.h>

#include <chrono>
#include <cstring>

namespace braid::bench {

namespace {

constexpr int kNumBatches = 3;  // odd: each batch meets both orders
constexpr double kLargestDifference = 1e-5;

std::int64_t now_ns() {
  return std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
}

std::string local_mismatch(const Problem& problem, const Contestant& ours,
                           const Contestant& theirs) {
  const auto row = static_cast<std::size_t>(problem.hidden);
  for (int local = 0; local < problem.num_local(); ++local) {
    const auto index = static_cast<std::size_t>(local);
    if (ours.rows.counts[index] != theirs.rows.counts[index]) {
      return fmt::format("dispatch: local expert {} has {} rows in {} and {} in {}", local,
                         ours.rows.counts[index], ours.exchange->name(), theirs.rows.counts[index],
                         theirs.exchange->name());
    }
    for (int i = 0; i < ours.rows.counts[index]; ++i) {
      const std::size_t at = static_cast<std::size_t>(local * problem.capacity() + i) * row;
      if (std::memcmp(ours.rows.x.data() + at, theirs.rows.x.data() + at, row * sizeof(Bf16)) !=
          0) {
        return fmt::format("dispatch: row {} of local expert {} differs between {} and {}", i,
                           local, ours.exchange->name(), theirs.exchange->name());
      }
    }
  }
  const double diff = difference(ours.result.data(), theirs.result.data(), ours.result.size());
  if (diff <= kLargestDifference) return {};  // not so for NaN
  return fmt::format("combine: {} and {} differ by {:.3g}, more than {}", ours.exchange->name(),
                     theirs.exchange->name(), diff, kLargestDifference);
}

}  // namespace

Contestant::Contestant(const Problem& problem, std::unique_ptr<Exchange> its_exchange)
    : exchange(std::move(its_exchange)),
      rows(problem),
      result(static_cast<std::size_t>(problem.tokens) * static_cast<std::size_t>(problem.hidden)) {}

Comparison::Comparison(const Problem& problem, MPI_Comm comm)
    : problem_(problem),
      comm_(comm),
      rank_(rank_in(comm)),
      barrier_(comm),
      experts_output_(ExpertRows(problem).x.size()) {
  for (int i = 0; i < kNumBatches; ++i) batches_.push_back(make_batch(problem, rank_, i));
}

Pair Comparison::run(int index, Contestant& ours, Contestant& theirs) {
  const Batch& batch = batches_[static_cast<std::size_t>(index) % batches_.size()];
  Pair pair;
  if (index % 2 == 0) {
    pair.ours = run(ours, batch);
    pair.theirs = run(theirs, batch);
  } else {
    pair.theirs = run(theirs, batch);
    pair.ours = run(ours, batch);
  }
  return pair;
}

Times Comparison::run(Contestant& contestant, const Batch& batch) {
  Times times;
  times.dispatch = time([&] { contestant.exchange->dispatch(batch, contestant.rows); });
  run_experts(problem_, rank_, contestant.rows, experts_output_.data());
  times.combine = time([&] {
    contestant.exchange->combine(batch, experts_output_.data(), contestant.result.data());
  });
  return times;
}

// All processes are on one host and read the same clock.
template <class Work>
double Comparison::time(Work&& work) {
  barrier_.wait();
  std::int64_t ends[2];
  ends[0] = -now_ns();
  work();
  ends[1] = now_ns();
  barrier_.wait();
  MPI_Allreduce(MPI_IN_PLACE, ends, 2, MPI_INT64_T, MPI_MAX, comm_);
  return static_cast<double>(ends[0] + ends[1]) / 1000;
}

std::string Comparison::mismatch(const Contestant& ours, const Contestant& theirs) const {
  std::string found = local_mismatch(problem_, ours, theirs);
  int first = found.empty() ? problem_.ranks : rank_;
  MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm_);
  if (first == problem_.ranks) return {};
  int length = static_cast<int>(found.size());
  MPI_Bcast(&length, 1, MPI_INT, first, comm_);
  found.resize(static_cast<std::size_t>(length));
  MPI_Bcast(found.data(), length, MPI_CHAR, first, comm_);
  return fmt::format("rank {}: {}", first, found);
}

}  // namespace braid::bench
