// What the MPI sides and the stopwatch share.
#pragma once

#include <pthread.h>

#include <cstdint>
#include <vector>

#include <mpi.h>

#include "bench_vs_mpi/problem.hpp"

namespace braid::bench {

int rank_in(MPI_Comm comm);

// Counts and displacements of one direction of an MPI_Alltoallv, by rank.
struct Blocks {
  explicit Blocks(int ranks)
      : counts(static_cast<std::size_t>(ranks)), begins(static_cast<std::size_t>(ranks)) {}
  std::vector<int> counts;
  std::vector<int> begins;
  int total = 0;

  void lay_out();  // begins and total from counts
};

// An MPI datatype of so many contiguous bytes, so that counts are in rows and can't overflow.
class RowType {
 public:
  explicit RowType(int bytes);
  ~RowType();
  RowType(const RowType&) = delete;
  RowType& operator=(const RowType&) = delete;
  MPI_Datatype get() const { return type_; }

 private:
  MPI_Datatype type_ = MPI_DATATYPE_NULL;
};

void alltoallv(const void* send, const Blocks& send_blocks, void* receive,
               const Blocks& receive_blocks, const RowType& type, MPI_Comm comm);

// A barrier of the processes of this host that sleeps. MPI_Barrier yields in a loop, which takes
// time from the ranks that still work where ranks outnumber cores: of Braid's as of MPI's.
class SleepingBarrier {
 public:
  explicit SleepingBarrier(MPI_Comm comm);  // collective
  ~SleepingBarrier();                       // collective
  SleepingBarrier(const SleepingBarrier&) = delete;
  SleepingBarrier& operator=(const SleepingBarrier&) = delete;
  void wait();

 private:
  MPI_Win window_ = MPI_WIN_NULL;
  pthread_barrier_t* barrier_ = nullptr;
};

}  // namespace braid::bench
