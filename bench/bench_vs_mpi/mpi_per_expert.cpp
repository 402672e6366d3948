#include <algorithm>
#include <cstring>

#include "bench_vs_mpi/exchange.hpp"
#include "bench_vs_mpi/mpi_tools.hpp"
#include "codec/rows.hpp"

namespace braid::bench {

namespace {

// Sent rows are ordered by expert, so that what a rank receives from another is one block of rows
// for each local expert, and the counts tell where each goes: rows need no metadata.
class MpiPerExpert final : public Exchange {
 public:
  MpiPerExpert(const Problem& problem, MPI_Comm comm)
      : problem_(problem),
        comm_(comm),
        row_(problem.hidden * 2),
        sent_rows_(static_cast<std::size_t>(problem.experts)),
        received_rows_(static_cast<std::size_t>(problem.experts)),
        next_(static_cast<std::size_t>(problem.experts)),
        slots_(static_cast<std::size_t>(problem.tokens) * static_cast<std::size_t>(problem.top_k)),
        sent_(problem.ranks),
        received_(problem.ranks),
        home_(slots_.size() * hidden()) {}

  const char* name() const override { return "mpi per_expert"; }

  void dispatch(const Batch& batch, ExpertRows& rows) override {
    std::fill(sent_rows_.begin(), sent_rows_.end(), 0);
    for (const std::int32_t expert : batch.topk_idx) ++sent_rows_[static_cast<std::size_t>(expert)];
    MPI_Alltoall(sent_rows_.data(), problem_.num_local(), MPI_INT, received_rows_.data(),
                 problem_.num_local(), MPI_INT, comm_);
    count(sent_rows_, sent_);
    count(received_rows_, received_);
    pack(batch);
    reserve_away();
    alltoallv(home_.data(), sent_, away_.data(), received_, row_, comm_);

    std::fill(rows.counts.begin(), rows.counts.end(), 0);
    const Bf16* from = away_.data();
    for_each_received([&](std::size_t local, std::size_t count) {
      std::memcpy(rows.x.data() + row_at(local, rows.counts[local]), from,
                  count * hidden() * sizeof(Bf16));
      from += count * hidden();
      rows.counts[local] += static_cast<std::int32_t>(count);
    });
  }

  void combine(const Batch& batch, const Bf16* y, Bf16* result) override {
    std::vector<std::int32_t> done(static_cast<std::size_t>(problem_.num_local()));
    Bf16* to = away_.data();
    for_each_received([&](std::size_t local, std::size_t count) {
      std::memcpy(to, y + row_at(local, done[local]), count * hidden() * sizeof(Bf16));
      to += count * hidden();
      done[local] += static_cast<std::int32_t>(count);
    });
    alltoallv(away_.data(), received_, home_.data(), sent_, row_, comm_);

    const std::size_t top_k = static_cast<std::size_t>(problem_.top_k);
    const Bf16* sources[32];
    for (std::size_t token = 0; token < static_cast<std::size_t>(problem_.tokens); ++token) {
      for (std::size_t choice = 0; choice < top_k; ++choice) {
        sources[choice] = home_.data() + slots_[token * top_k + choice] * hidden();
      }
      kernels_.weighted_sum_bf16(sources, batch.topk_weights.data() + token * top_k, problem_.top_k,
                                 problem_.hidden, result + token * hidden());
    }
  }

 private:
  std::size_t hidden() const { return static_cast<std::size_t>(problem_.hidden); }

  std::size_t row_at(std::size_t local, std::int32_t row) const {
    return (local * static_cast<std::size_t>(problem_.capacity()) + static_cast<std::size_t>(row)) *
           hidden();
  }

  // Rows by expert, summed up by rank.
  void count(const std::vector<int>& rows, Blocks& blocks) const {
    const auto local = static_cast<std::size_t>(problem_.num_local());
    std::fill(blocks.counts.begin(), blocks.counts.end(), 0);
    for (std::size_t i = 0; i < rows.size(); ++i) blocks.counts[i / local] += rows[i];
    blocks.lay_out();
  }

  void pack(const Batch& batch) {
    std::size_t begin = 0;
    for (std::size_t expert = 0; expert < next_.size(); ++expert) {
      next_[expert] = begin;
      begin += static_cast<std::size_t>(sent_rows_[expert]);
    }
    const std::size_t top_k = static_cast<std::size_t>(problem_.top_k);
    for (std::size_t route = 0; route < slots_.size(); ++route) {
      slots_[route] = next_[static_cast<std::size_t>(batch.topk_idx[route])]++;
      std::memcpy(home_.data() + slots_[route] * hidden(),
                  batch.x.data() + route / top_k * hidden(), hidden() * sizeof(Bf16));
    }
  }

  // Received rows grow with the routing: the warm-up finds the largest.
  void reserve_away() {
    const std::size_t needed = static_cast<std::size_t>(received_.total) * hidden();
    if (away_.size() < needed) away_ = HostArray<Bf16>(needed);
  }

  // (local expert, rows) in the order in which blocks arrive.
  template <class Visit>
  void for_each_received(Visit&& visit) const {
    const auto local = static_cast<std::size_t>(problem_.num_local());
    for (std::size_t i = 0; i < received_rows_.size(); ++i) {
      visit(i % local, static_cast<std::size_t>(received_rows_[i]));
    }
  }

  Problem problem_;
  MPI_Comm comm_;
  // The sums are Braid's own, so that the comparison is about moving rows.
  const codec::RowKernels& kernels_ = codec::row_kernels();
  RowType row_;
  std::vector<int> sent_rows_;      // by expert
  std::vector<int> received_rows_;  // by source rank and local expert
  std::vector<std::size_t> next_;   // by expert: the next free slot
  std::vector<std::size_t> slots_;  // by route: its row in home_
  Blocks sent_, received_;
  HostArray<Bf16> home_;  // rows of this rank's tokens: packed in dispatch, received in combine
  HostArray<Bf16> away_;  // rows of others' tokens: received in dispatch, packed in combine
};

}  // namespace

std::unique_ptr<Exchange> make_mpi_per_expert(const Problem& problem, MPI_Comm comm) {
  return std::make_unique<MpiPerExpert>(problem, comm);
}

}  // namespace braid::bench
