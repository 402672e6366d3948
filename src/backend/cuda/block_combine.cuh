// Combine's whole role for blocks of a GPU: BF16 rows, one round. Layout, flags and what they promise
// are those of src/protocol.
//
// At the expert rank fifteen warps sum a token's rows in registers, into shared memory, and the
// sending warp takes the sum home while they go on. At the token rank the sending warp copies rows
// alone. Where both phases are one launch, what is the rank's own is summed where it is.
#pragma once

#include "backend/cuda/block.cuh"
#include "backend/cuda/block_maps.hpp"
#include "backend/cuda/kernels.hpp"

namespace braid::cuda {

inline constexpr int kCopyRows = 12;  // that the sending warp has on their way at the token rank

template <int kUnits>
struct Sums {
  float value[kUnits][kUnitChannels];

  __device__ void clear() {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
#pragma unroll
      for (int i = 0; i < kUnitChannels; ++i) value[u][i] = 0.0F;
    }
  }
  __device__ void add(const Channels<kUnits>& x, float weight) {
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      const std::uint32_t pairs[8] = {x.low[u].x,  x.low[u].y,  x.low[u].z,  x.low[u].w,
                                      x.high[u].x, x.high[u].y, x.high[u].z, x.high[u].w};
#pragma unroll
      for (int i = 0; i < 8; ++i) add_pair(pairs[i], weight, value[u][2 * i], value[u][2 * i + 1]);
    }
  }
  __device__ Channels<kUnits> rounded() const {
    Channels<kUnits> x;
#pragma unroll
    for (int u = 0; u < kUnits; ++u) {
      std::uint32_t pairs[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        pairs[i] = packed(codec::sum_to_bf16(value[u][2 * i]),
                          codec::sum_to_bf16(value[u][2 * i + 1]));
      }
      x.low[u] = {pairs[0], pairs[1], pairs[2], pairs[3]};
      x.high[u] = {pairs[4], pairs[5], pairs[6], pairs[7]};
    }
    return x;
  }
};

template <bool kAtExpertRank, int kUnits>
class CombineBlock {
 public:
  __device__ CombineBlock(const CombineKernelArgs& args, std::byte* shared, int worker)
      : a_(args.combine),
        place_(args.machine, args.combine.op, worker),
        shared_(shared),
        map_(CombineBlockMap::of(args.combine.experts.num_ranks,
                                 2 * std::int64_t{args.combine.op.map.shape.hidden},
                                 kAtExpertRank ? kRingRows : kCopyRows)),
        hidden_(args.combine.op.map.shape.hidden) {}

  __device__ void send() {
    keeps_own_ = false;
    begin(protocol::state_of(a_.op).epoch + 1);
    begin_send();
    if (!failed()) send_rows({place_.worker, place_.machine.num_workers});
    __syncthreads();
    if (!place_.sends() || !place_.is_last(layout::Phase::kCombineSend)) return;
    store_epochs();
  }

  __device__ void receive() {
    keeps_own_ = false;
    begin(protocol::record_of(a_.op).combine_epoch);
    __syncthreads();
    receive_tokens({place_.worker, place_.machine.num_workers});
    end_receive(false);
  }

  // All blocks of all ranks are resident.
  __device__ void both() {
    keeps_own_ = true;
    begin(protocol::state_of(a_.op).epoch + 1);
    begin_send();
    const Share all{place_.worker, place_.machine.num_workers};
    // Rows of the token rank fill the link: few blocks do, and the others sum what has come.
    const int senders = kAtExpertRank ? 0 : place_.machine.num_workers / 4;
    if (!failed()) {
      if (senders == 0) {
        send_rows(all);
        receive_tokens(all);
      } else if (place_.worker < senders) {
        send_rows({place_.worker, senders});
      } else {
        receive_tokens({place_.worker - senders, place_.machine.num_workers - senders});
      }
    }
    end_receive(true);
  }

 private:
  using RowOrigin = layout::RowOrigin;

  // Every step-th of some work, from first on.
  struct Share {
    int first = 0;
    int step = 1;
  };
  // A lane's naming of a local expert by one token of a source, where there is one.
  struct Term {
    std::uint32_t epoch = 0;
    std::uint32_t row = 0;
    float weight = 0.0F;
  };

  template <class T>
  __device__ T* at(std::int64_t offset) const {
    return reinterpret_cast<T*>(shared_ + offset);
  }
  __device__ std::uint32_t* active() const { return at<std::uint32_t>(map_.active); }
  __device__ std::byte* peer(int rank) const { return at<std::byte*>(map_.peers)[rank]; }
  __device__ std::byte* ring(int row) const { return shared_ + map_.ring + row * map_.row_bytes; }
  __device__ int num_ranks() const { return a_.experts.num_ranks; }
  __device__ std::int64_t* waited(int peer) const {
    return a_.waited_ns == nullptr ? nullptr : a_.waited_ns + peer;
  }
  __device__ bool failed() const { return *at<volatile std::uint32_t>(map_.failed) != 0; }
  __device__ void note(bool missed) {
    if (missed) ptx::red_or_relaxed_cta_shared_u32(at<std::uint32_t>(map_.failed), 1);
  }
  __device__ const std::uint16_t* expert_row(std::uint32_t row) const {
    return a_.x + static_cast<std::int64_t>(row) * hidden_;
  }

  __device__ void begin(std::uint32_t epoch) {
    epoch_ = epoch;
    depth_ = protocol::depth_of(a_.op, epoch_);
    dispatched_ = protocol::record_of(a_.op).dispatch_epoch;
    const auto* active_ranks =
        reinterpret_cast<const std::uint32_t*>(a_.op.local + a_.op.local_map.active.offset);
    for (int rank = place_.thread; rank < num_ranks(); rank += kBlockThreads) {
      active()[rank] = active_ranks[rank];
      at<std::byte*>(map_.peers)[rank] = place_.machine.peers[rank];
    }
    if (place_.thread == 0) *at<std::uint32_t>(map_.failed) = 0;
    if (!kAtExpertRank && place_.thread < kCopyRows) {
      ptx::mbarrier_init(at<std::uint64_t>(map_.barriers) + place_.thread, 1);
      ptx::fence_mbarrier_init_release_cluster();
    }
  }

  // The signal says only that this rank has come this far: each row has a flag of its own.
  __device__ void begin_send() {
    __syncthreads();
    if (place_.sends()) {
      note(place_.await_depth(epoch_, depth_, machine::Operation::kCombineSend, active(),
                              a_.waited_ns));
    }
    __syncthreads();
    if (failed() || place_.worker > 0) return;
    for (int to = place_.thread; to < num_ranks(); to += kBlockThreads) {
      if (active()[to] == 0) continue;
      const std::int64_t signal =
          a_.op.map.signal_flag(layout::Signal::kCombine, depth_, place_.rank(), 0);
      ptx::st_relaxed_sys_u64(reinterpret_cast<Word*>(peer(to) + signal),
                              layout::make_word(epoch_, 0));
    }
  }

  // Tokens that rows may go home to, a source after another, the next rank's first.
  struct Home {
    int source = 0;
    int token = 0;
  };
  __device__ int num_homes() const {
    return (num_ranks() - (keeps_own_ ? 1 : 0)) * a_.op.map.shape.max_tokens;
  }
  __device__ Home home_of(int i) const {
    const int step = i / a_.op.map.shape.max_tokens;
    return {(place_.rank() + 1 + step) % num_ranks(), i - step * a_.op.map.shape.max_tokens};
  }
  __device__ Term load_term(const Home& home) const {
    Term term;
    if (place_.lane >= a_.topk.k) return term;
    const auto words = *reinterpret_cast<const uint4*>(
        a_.op.local + a_.op.local_map.term(a_.op.handle_slot, home.source,
                                           std::int64_t{home.token} * a_.topk.k + place_.lane));
    return {words.x, words.y, __uint_as_float(words.z)};
  }
  __device__ bool is_named(const Term& term) const {
    return place_.lane < a_.topk.k && term.epoch == dispatched_;
  }

  __device__ void send_rows(const Share& share) {
    if constexpr (kAtExpertRank) {
      send_sums(share);
    } else if (place_.sends()) {
      copy_rows(share);
    }
  }

  // The weighted sum of a token's rows here: float32 in the order of its choices.
  __device__ Sums<kUnits> sum_terms(const Term& term, unsigned named) const {
    constexpr int kAhead = 4 / kUnits;
    Sums<kUnits> sums;
    sums.clear();
    while (named != 0) {
      Channels<kUnits> x[kAhead];
      float weights[kAhead];
      int count = 0;
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (named == 0) break;
        const int choice = __ffs(named) - 1;
        named &= named - 1;
        load_channels(x[i], expert_row(__shfl_sync(kAllLanes, term.row, choice)), hidden_);
        weights[i] = __shfl_sync(kAllLanes, term.weight, choice);
        ++count;
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (i < count) sums.add(x[i], weights[i]);
      }
    }
    return sums;
  }

  __device__ void send_sums(const Share& share) {
    const int homes = num_homes();
    SentRows sent(epoch_);
    int turn = 0;
    Term next = load_term(home_of(min_of(share.first, max_of(homes - 1, 0))));
    for (int i = share.first; i < homes; i += share.step) {
      const Home home = home_of(i);
      const Term term = next;
      next = load_term(home_of(min_of(i + share.step, max_of(homes - 1, 0))));
      const unsigned named = __ballot_sync(kAllLanes, is_named(term));
      if (named == 0 || active()[home.source] == 0) continue;
      std::byte* row = ring(turn);
      if (!place_.sends()) {
        store_channels(sum_terms(term, named).rounded(), row, hidden_);
        ptx::fence_proxy_async_shared_cta();
      }
      __syncthreads();
      if (place_.sends()) {
        const int slot = home.token * a_.topk.k + __ffs(named) - 1;
        if (place_.lane == 0) {
          ptx::bulk_copy_shared_to_global(
              peer(home.source) + a_.op.map.combine_row(depth_, slot), row,
              static_cast<std::uint32_t>(2 * hidden_));
        }
        sent.add(place_.lane == 0 ? reinterpret_cast<Word*>(peer(home.source) +
                                                            a_.op.map.combine_flag(depth_, slot))
                                  : nullptr);
      }
      turn = turn == kRingRows - 1 ? 0 : turn + 1;
    }
    if (place_.sends()) sent.finish();
  }

  // Rows as they are, by the sending warp alone: a lane for each of a token's rows, several tokens
  // on their way.
  __device__ void copy_rows(const Share& share) {
    const int homes = num_homes();
    const auto bytes = static_cast<std::uint32_t>(2 * hidden_);
    std::uint32_t loaded = 0;  // rows so far: their places in the ring, and the barriers' phases
    Term next = load_term(home_of(min_of(share.first, max_of(homes - 1, 0))));
    for (int i = share.first; i < homes; i += share.step) {
      const Home home = home_of(i);
      const Term term = next;
      next = load_term(home_of(min_of(i + share.step, max_of(homes - 1, 0))));
      const std::uint32_t key = is_named(term) ? term.row : ~std::uint32_t{0};
      const unsigned same = __match_any_sync(kAllLanes, key);
      const bool goes = is_named(term) && (same & ((1u << place_.lane) - 1)) == 0 &&
                        active()[home.source] != 0;
      unsigned left = __ballot_sync(kAllLanes, goes);
      while (left != 0) {
        // Up to half of the ring at a time: the other half is still on its way home.
        unsigned now = left;
        while (__popc(now) > kCopyRows / 2) now &= ~(0x80000000u >> __clz(now));
        left &= ~now;
        const bool mine = (now >> place_.lane & 1u) != 0;
        const std::uint32_t nth =
            loaded + static_cast<std::uint32_t>(__popc(now & ((1u << place_.lane) - 1)));
        const auto place = static_cast<int>(nth % kCopyRows);
        std::uint64_t* barrier = at<std::uint64_t>(map_.barriers) + place;
        if (mine) {
          ptx::mbarrier_arrive_expect_tx_release_cta(barrier, bytes);
          ptx::bulk_copy_global_to_shared(ring(place), expert_row(term.row), bytes, barrier);
        }
        raise_copied();  // of the batch before, while this one is loaded
        const int slot = home.token * a_.topk.k + place_.lane;
        if (mine) {
          while (!ptx::mbarrier_try_wait_parity_acquire_cta(barrier, nth / kCopyRows & 1u)) {
          }
          ptx::bulk_copy_shared_to_global(
              peer(home.source) + a_.op.map.combine_row(depth_, slot), ring(place), bytes);
          copied_ = reinterpret_cast<Word*>(peer(home.source) +
                                            a_.op.map.combine_flag(depth_, slot));
        }
        ptx::bulk_commit_group();
        __syncwarp();
        loaded += static_cast<std::uint32_t>(__popc(now));
      }
    }
    raise_copied();
  }

  __device__ void raise_copied() {
    ptx::bulk_wait_group<0>();
    __syncwarp();
    if (copied_ != nullptr) ptx::st_release_sys_u64(copied_, layout::make_word(epoch_, 0));
    copied_ = nullptr;
    __syncwarp();
  }

  __device__ void receive_tokens(const Share& share) {
    if (place_.sends()) return;
    for (int token = share.first; token < a_.topk.num_tokens; token += share.step) {
      if (!receive_token(token)) {
        note(true);
        return;
      }
    }
  }

  // A warp's part of a token's channels. Its lanes are choices where flags and weights are concerned.
  __device__ bool receive_token(int token) {
    const int lane = place_.lane;
    const bool is_choice = lane < a_.topk.k;
    const int expert = is_choice ? a_.topk.expert(token, lane) : -1;
    const float weight =
        !kAtExpertRank && is_choice ? a_.weights[std::int64_t{token} * a_.topk.k + lane] : 1.0F;
    const Term term = keeps_own_ ? load_term({place_.rank(), token}) : Term{};
    const int rank = expert >= 0 ? a_.experts.rank_of(expert) : -1;
    const bool counts = expert >= 0 && active()[rank] != 0;
    // One row for each rank, or for each expert that is named: in its first choice's slot.
    const unsigned same = __match_any_sync(kAllLanes, kAtExpertRank ? rank : expert);
    const int first = __ffs(same) - 1;
    const bool own = keeps_own_ && rank == place_.rank();
    const unsigned adds = __ballot_sync(kAllLanes, counts && (!kAtExpertRank || first == lane));
    const unsigned owns = __ballot_sync(kAllLanes, own);
    Channels<kUnits> own_sum{};
    if (kAtExpertRank && (adds & owns) != 0) {
      own_sum = sum_terms(term, __ballot_sync(kAllLanes, is_named(term))).rounded();
    }
    bool reached = true;
    if (counts && first == lane && !own) {
      const std::int64_t slot = std::int64_t{token} * a_.topk.k + lane;
      reached = place_.flags
                    .wait(place_.word(a_.op.map.combine_flag(depth_, slot)), epoch_,
                          {machine::Operation::kCombineReceive, 0, rank}, waited(rank))
                    .reached;
    }
    if (__ballot_sync(kAllLanes, !reached) != 0) return false;
    __syncwarp();
    Sums<kUnits> sums;
    sums.clear();
    const std::int64_t first_slot = std::int64_t{token} * a_.topk.k + first;
    const std::byte* row = own ? reinterpret_cast<const std::byte*>(expert_row(term.row))
                               : place_.machine.local + a_.op.map.combine_row(depth_, first_slot);
    add_rows(sums, adds, owns, {row, weight, own_sum});
    store_channels(sums.rounded(), a_.out + std::int64_t{token} * hidden_, hidden_);
    return true;
  }

  struct Rows {
    const std::byte* row;  // of the lane's choice
    float weight;
    const Channels<kUnits>& own_sum;
  };
  __device__ void add_rows(Sums<kUnits>& sums, unsigned adds, unsigned owns,
                           const Rows& rows) const {
    constexpr int kAhead = 4 / kUnits;
    while (adds != 0) {
      Channels<kUnits> x[kAhead];
      float weights[kAhead];
      int count = 0;
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (adds == 0) break;
        const int choice = __ffs(adds) - 1;
        adds &= adds - 1;
        const auto row = reinterpret_cast<const std::byte*>(
            __shfl_sync(kAllLanes, reinterpret_cast<unsigned long long>(rows.row), choice));
        weights[i] = __shfl_sync(kAllLanes, rows.weight, choice);
        if (kAtExpertRank && (owns >> choice & 1u) != 0) {
          x[i] = rows.own_sum;
        } else {
          load_channels(x[i], row, hidden_);
        }
        ++count;
      }
#pragma unroll
      for (int i = 0; i < kAhead; ++i) {
        if (i < count) sums.add(x[i], weights[i]);
      }
    }
  }

  __device__ void store_epochs() const {
    if (place_.lane != 0) return;
    protocol::record_of(a_.op).combine_epoch = epoch_;
    protocol::state_of(a_.op).epoch = epoch_;
  }

  // Every peer came this far, also one that had nothing for this rank. A worker's reads are over
  // when its warps are here.
  __device__ void end_receive(bool ends_send) {
    if (!place_.sends()) {
      ptx::barrier_cta_arrive(kReadBarrier, kBlockThreads);
      return;
    }
    if (place_.worker == 0 && !failed()) await_signals();
    ptx::barrier_cta_sync(kReadBarrier, kBlockThreads);
    if (!place_.is_last(layout::Phase::kCombineReceive)) return;
    if (ends_send) store_epochs();
    if (!failed()) place_.raise_received(epoch_, depth_, active());
  }

  __device__ void await_signals() {
    for (int source = place_.lane; source < num_ranks(); source += kWarpLanes) {
      if (active()[source] == 0) continue;
      const Word* flag =
          place_.word(a_.op.map.signal_flag(layout::Signal::kCombine, depth_, source, 0));
      note(!place_.flags
                .wait(flag, epoch_, {machine::Operation::kCombineReceive, 0, source},
                      waited(source))
                .reached);
    }
    __syncwarp();
  }

  const protocol::CombineArgs& a_;
  BlockPlace place_;
  std::byte* shared_;
  CombineBlockMap map_;
  int hidden_;
  std::uint32_t epoch_ = 0, dispatched_ = 0;
  int depth_ = 0;
  bool keeps_own_ = false;   // this rank's own rows are summed where the experts left them
  Word* copied_ = nullptr;  // this lane's flag to raise once its copy has arrived
};

}  // namespace braid::cuda
