#include <algorithm>
#include <cstring>

#include "base/math.hpp"
#include "bench_vs_mpi/exchange.hpp"
#include "bench_vs_mpi/mpi_tools.hpp"
#include "codec/rows.hpp"

namespace braid::bench {

namespace {

struct Entry {
  std::int32_t local;  // local expert, or -1: no more entries
  float weight;
};

// A message is a token's row and its (local expert, weight) entries behind it, on whole cache
// lines; messages to a rank are in token order. Sums travel back as rows alone.
class MpiPerRank final : public Exchange {
 public:
  MpiPerRank(const Problem& problem, MPI_Comm comm)
      : problem_(problem),
        comm_(comm),
        row_bytes_(static_cast<std::size_t>(problem.hidden) * sizeof(Bf16)),
        message_bytes_(round_up(row_bytes_ + top_k() * sizeof(Entry), std::size_t{64})),
        row_(static_cast<int>(row_bytes_)),
        message_(static_cast<int>(message_bytes_)),
        sent_(problem.ranks),
        received_(problem.ranks),
        next_(static_cast<std::size_t>(problem.ranks)),
        stamp_(static_cast<std::size_t>(problem.ranks)),
        slot_of_(static_cast<std::size_t>(problem.ranks)),
        num_entries_(static_cast<std::size_t>(problem.ranks)) {
    const auto messages = static_cast<std::size_t>(problem.tokens) *
                          static_cast<std::size_t>(min_of(problem.ranks, problem.top_k));
    home_ = HostArray<std::byte>(messages * message_bytes_);
  }

  const char* name() const override { return "mpi per_rank"; }

  void dispatch(const Batch& batch, ExpertRows& rows) override {
    count(batch);
    MPI_Alltoall(sent_.counts.data(), 1, MPI_INT, received_.counts.data(), 1, MPI_INT, comm_);
    sent_.lay_out();
    received_.lay_out();
    pack(batch);
    reserve_away();
    alltoallv(home_.data(), sent_, away_.data(), received_, message_, comm_);
    place(rows);
  }

  void combine(const Batch&, const Bf16* y, Bf16* result) override {
    const Bf16* sources[32];
    float weights[32];
    std::size_t placed = 0;
    for (std::size_t message = 0; message < num_placed_.size(); ++message) {
      const int count = num_placed_[message];
      for (int i = 0; i < count; ++i, ++placed) {
        sources[i] = y + placed_[placed].offset;
        weights[i] = placed_[placed].weight;
      }
      kernels_.weighted_sum_bf16(sources, weights, count, problem_.hidden, row_at(away_, message));
    }
    alltoallv(away_.data(), received_, home_.data(), sent_, row_, comm_);

    std::fill(std::begin(weights), std::end(weights), 1.0F);
    std::size_t slot = 0;
    for (std::size_t token = 0; token < num_sent_.size(); ++token) {
      const int count = num_sent_[token];
      for (int i = 0; i < count; ++i) sources[i] = row_at(home_, slots_[slot++]);
      kernels_.weighted_sum_bf16(sources, weights, count, problem_.hidden,
                                 result + token * static_cast<std::size_t>(problem_.hidden));
    }
  }

 private:
  struct Placed {
    std::size_t offset;  // of the row in the experts' rows, in elements
    float weight;
  };

  std::size_t top_k() const { return static_cast<std::size_t>(problem_.top_k); }

  Bf16* row_at(const HostArray<std::byte>& rows, std::size_t index) const {
    return reinterpret_cast<Bf16*>(rows.data() + index * row_bytes_);
  }

  // Calls visit(rank, choice, whether it is the token's first choice on that rank).
  template <class Visit>
  void for_each_choice(const Batch& batch, std::size_t token, Visit&& visit) {
    ++now_;
    for (std::size_t choice = 0; choice < top_k(); ++choice) {
      const int expert = batch.topk_idx[token * top_k() + choice];
      const auto rank = static_cast<std::size_t>(expert / problem_.num_local());
      const bool first = stamp_[rank] != now_;
      stamp_[rank] = now_;
      visit(rank, choice, first);
    }
  }

  void count(const Batch& batch) {
    std::fill(sent_.counts.begin(), sent_.counts.end(), 0);
    for (std::size_t token = 0; token < static_cast<std::size_t>(problem_.tokens); ++token) {
      for_each_choice(batch, token, [&](std::size_t rank, std::size_t, bool first) {
        if (first) ++sent_.counts[rank];
      });
    }
  }

  void pack(const Batch& batch) {
    for (std::size_t rank = 0; rank < next_.size(); ++rank) {
      next_[rank] = static_cast<std::size_t>(sent_.begins[rank]);
    }
    slots_.clear();
    num_sent_.clear();
    for (std::size_t token = 0; token < static_cast<std::size_t>(problem_.tokens); ++token) {
      const std::size_t slots_before = slots_.size();
      const auto* row = reinterpret_cast<const std::byte*>(batch.x.data()) + token * row_bytes_;
      for_each_choice(batch, token, [&](std::size_t rank, std::size_t choice, bool first) {
        if (first) {
          slot_of_[rank] = next_[rank]++;
          slots_.push_back(slot_of_[rank]);
          std::memcpy(home_.data() + slot_of_[rank] * message_bytes_, row, row_bytes_);
          num_entries_[rank] = 0;
        }
        Entry* entries = entries_of(home_, slot_of_[rank]);
        const std::size_t route = token * top_k() + choice;
        entries[num_entries_[rank]++] = {batch.topk_idx[route] % problem_.num_local(),
                                         batch.topk_weights[route]};
        if (num_entries_[rank] < top_k()) entries[num_entries_[rank]].local = -1;
      });
      num_sent_.push_back(static_cast<int>(slots_.size() - slots_before));
    }
  }

  Entry* entries_of(const HostArray<std::byte>& messages, std::size_t index) const {
    return reinterpret_cast<Entry*>(messages.data() + index * message_bytes_ + row_bytes_);
  }

  void place(ExpertRows& rows) {
    std::fill(rows.counts.begin(), rows.counts.end(), 0);
    placed_.clear();
    num_placed_.clear();
    for (std::size_t message = 0; message < static_cast<std::size_t>(received_.total); ++message) {
      const std::byte* row = away_.data() + message * message_bytes_;
      const Entry* entries = entries_of(away_, message);
      int count = 0;
      for (; count < problem_.top_k && entries[count].local >= 0; ++count) {
        const auto local = static_cast<std::size_t>(entries[count].local);
        const std::size_t index = local * static_cast<std::size_t>(problem_.capacity()) +
                                  static_cast<std::size_t>(rows.counts[local]++);
        const std::size_t offset = index * static_cast<std::size_t>(problem_.hidden);
        std::memcpy(rows.x.data() + offset, row, row_bytes_);
        placed_.push_back({offset, entries[count].weight});
      }
      num_placed_.push_back(count);
    }
  }

  // Received messages grow with the routing: the warm-up finds the largest.
  void reserve_away() {
    const std::size_t needed = static_cast<std::size_t>(received_.total) * message_bytes_;
    if (away_.size() < needed) away_ = HostArray<std::byte>(needed);
  }

  Problem problem_;
  MPI_Comm comm_;
  // The sums are Braid's own, so that the comparison is about moving rows.
  const codec::RowKernels& kernels_ = codec::row_kernels();
  std::size_t row_bytes_;
  std::size_t message_bytes_;
  RowType row_, message_;
  Blocks sent_, received_;
  std::vector<std::size_t> next_;     // by rank: the next free message
  std::vector<std::uint64_t> stamp_;  // by rank: the last token seen there
  std::uint64_t now_ = 0;
  std::vector<std::size_t> slot_of_;  // by rank: the current token's message
  std::vector<std::size_t> num_entries_;
  std::vector<std::size_t> slots_;  // messages of the tokens, one after the other
  std::vector<int> num_sent_;       // by token: how many of slots_ are its
  std::vector<Placed> placed_;      // rows of the received messages, one after the other
  std::vector<int> num_placed_;     // by received message: how many of placed_ are its
  HostArray<std::byte> home_;  // of this rank's tokens: packed in dispatch, received in combine
  HostArray<std::byte> away_;  // of others' tokens: received in dispatch, summed in combine
};

}  // namespace

std::unique_ptr<Exchange> make_mpi_per_rank(const Problem& problem, MPI_Comm comm) {
  return std::make_unique<MpiPerRank>(problem, comm);
}

}  // namespace braid::bench
