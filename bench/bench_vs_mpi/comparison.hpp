// Times the sides against each other in the same processes, in turns.
#pragma once

#include <mpi.h>

#include <memory>
#include <vector>

#include "bench_vs_mpi/exchange.hpp"
#include "bench_vs_mpi/mpi_tools.hpp"

namespace braid::bench {

// From the moment the first rank starts to the moment the last one has ended, in microseconds.
struct Times {
  double dispatch = 0;
  double combine = 0;
  double pair() const { return dispatch + combine; }
};

struct Pair {
  Times ours, theirs;
};

// A side with the memory that it fills.
struct Contestant {
  Contestant(const Problem& problem, std::unique_ptr<Exchange> its_exchange);
  std::unique_ptr<Exchange> exchange;
  ExpertRows rows;
  HostArray<Bf16> result;  // [n, H]
};

class Comparison {
 public:
  Comparison(const Problem& problem, MPI_Comm comm);

  // One run of ours and one of theirs on the same batch; batch and order follow from the index:
  // with an even one ours comes first.
  Pair run(int index, Contestant& ours, Contestant& theirs);

  // What differs between the last runs of the two on any rank: empty if dispatch filled the same
  // bytes and combine's results are within 1e-5 of each other. Collective.
  std::string mismatch(const Contestant& ours, const Contestant& theirs) const;

 private:
  Times run(Contestant& contestant, const Batch& batch);
  template <class Work>
  double time(Work&& work);

  Problem problem_;
  MPI_Comm comm_;
  int rank_;
  SleepingBarrier barrier_;
  std::vector<Batch> batches_;
  HostArray<Bf16> experts_output_;  // [Le, R*T, H]
};

}  // namespace braid::bench
