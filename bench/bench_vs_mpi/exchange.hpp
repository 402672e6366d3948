// A side of the comparison: something that dispatches a batch and combines it again.
#pragma once

#include <memory>

#include <mpi.h>

#include "bench_vs_mpi/problem.hpp"

namespace braid::bench {

class Exchange {
 public:
  virtual ~Exchange() = default;
  virtual const char* name() const = 0;

  // Collective; returns when this rank's rows have arrived. Rows of an expert are ordered by
  // source rank, then token.
  virtual void dispatch(const Batch& batch, ExpertRows& rows) = 0;

  // Collective, of the dispatch before it. y: [Le, R*T, H], laid out as the dispatch's rows.
  // result: [n, H], the weighted sum of each token's rows.
  virtual void combine(const Batch& batch, const Bf16* y, Bf16* result) = 0;
};

// Packing, MPI_Alltoallv and unpacking, one copy of a token for each of its experts. Rows come
// home one a route; their owner sums them.
std::unique_ptr<Exchange> make_mpi_per_expert(const Problem& problem, MPI_Comm comm);

// The same with one copy for each rank, which the receiver places into its experts' rows. That
// rank sums a token's rows, the weights having travelled; the owner adds the ranks' sums.
std::unique_ptr<Exchange> make_mpi_per_rank(const Problem& problem, MPI_Comm comm);

// Braid: per_rank fan-out, reduction at the experts' rank, one worker.
std::unique_ptr<Exchange> make_braid(const Problem& problem, MPI_Comm comm);

}  // namespace braid::bench
