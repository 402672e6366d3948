#include "bench_vs_mpi/mpi_tools.hpp"

#include "base/check.hpp"

namespace braid::bench {

int rank_in(MPI_Comm comm) {
  int rank = 0;
  MPI_Comm_rank(comm, &rank);
  return rank;
}

void Blocks::lay_out() {
  total = 0;
  for (std::size_t rank = 0; rank < counts.size(); ++rank) {
    begins[rank] = total;
    total += counts[rank];
  }
}

RowType::RowType(int bytes) {
  MPI_Type_contiguous(bytes, MPI_BYTE, &type_);
  MPI_Type_commit(&type_);
}

RowType::~RowType() { MPI_Type_free(&type_); }

void alltoallv(const void* send, const Blocks& send_blocks, void* receive,
               const Blocks& receive_blocks, const RowType& type, MPI_Comm comm) {
  MPI_Alltoallv(send, send_blocks.counts.data(), send_blocks.begins.data(), type.get(), receive,
                receive_blocks.counts.data(), receive_blocks.begins.data(), type.get(), comm);
}

SleepingBarrier::SleepingBarrier(MPI_Comm comm) {
  int ranks = 0;
  MPI_Comm_size(comm, &ranks);
  const bool first = rank_in(comm) == 0;
  MPI_Win_allocate_shared(first ? sizeof(pthread_barrier_t) : 0, 1, MPI_INFO_NULL, comm, &barrier_,
                          &window_);
  MPI_Aint bytes = 0;
  int unit = 0;
  MPI_Win_shared_query(window_, 0, &bytes, &unit, &barrier_);
  if (first) {
    pthread_barrierattr_t attributes;
    pthread_barrierattr_init(&attributes);
    pthread_barrierattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    const int failure = pthread_barrier_init(barrier_, &attributes, static_cast<unsigned>(ranks));
    pthread_barrierattr_destroy(&attributes);
    BRAID_CHECK(failure == 0);
  }
  MPI_Barrier(comm);
}

SleepingBarrier::~SleepingBarrier() { MPI_Win_free(&window_); }

void SleepingBarrier::wait() { pthread_barrier_wait(barrier_); }

}  // namespace braid::bench
