// Combine's whole role for blocks of a GPU: BF16 rows, one round. Layout, flags and what they promise
// are those of src/protocol.
//
// At the expert rank the row warps sum a token's rows in registers, into shared memory, and the
// sending warp takes the sum home while they go on. At the token rank the sending warp copies rows
// alone. Where both phases are one launch, what is the rank's own is summed where it is.
#pragma once

#include "backend/cuda/block.cuh"
#include "backend/cuda/block_maps.hpp"
#include "backend/cuda/kernels.hpp"

namespace braid::cuda {

// Rows that the sending warp has on their way at the token rank, in batches: one is loaded, one is
// on the link, one arrives.
inline constexpr int kCopyRows = 12;
inline constexpr int kCopyBatches = 3;

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
        ring_(shared + map_.ring, map_.row_bytes,
              reinterpret_cast<std::uint64_t*>(shared + map_.barriers)),
        hidden_(args.combine.op.map.shape.hidden) {}

  __device__ void send() {
    keeps_own_ = false;
    const Share all{place_.worker, place_.machine.num_workers};
    const Homeward first = load_home(all.first);
    begin_send();
    send_rows(all, first);
    __syncthreads();
    if (!place_.sends() || !place_.is_last(layout::Phase::kCombineSend)) return;
    store_epochs();
  }

  __device__ void receive() {
    keeps_own_ = false;
    const Share all{place_.worker, place_.machine.num_workers};
    const Arriving first = load_token(all.first);
    set_epochs(protocol::record_of(a_.op).combine_epoch,
               protocol::record_of(a_.op).dispatch_epoch);
    if (place_.thread == 0) *at<std::uint32_t>(map_.failed) = 0;
    __syncthreads();
    receive_tokens(all, first);
    end_receive(false);
  }

  // All blocks of all ranks are resident.
  __device__ void both() {
    keeps_own_ = true;
    // Rows of the token rank fill the link: few blocks send, and the others sum what has come.
    const int senders = kAtExpertRank ? 0 : place_.machine.num_workers / 4;
    const int receivers = place_.machine.num_workers - senders;
    const bool sends = senders == 0 || place_.worker < senders;
    const bool receives = senders == 0 || !sends;
    const Share out{place_.worker, senders == 0 ? receivers : senders};
    const Share in{place_.worker - senders, receivers};
    Homeward home;
    Arriving token;
    if (sends) home = load_home(out.first);
    if (receives) token = load_token(in.first);
    begin_send();
    if (sends) send_rows(out, home);
    if (receives) receive_tokens(in, token);
    end_receive(true);
  }

 private:
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
  // A token that rows may go home to.
  struct Homeward {
    int source = 0;
    int token = 0;
    std::uint32_t active = 0;
    Term term;
  };
  // A token that rows come home to: a lane's choice.
  struct Arriving {
    int expert = -1;
    float weight = 1.0F;
    Term own;
  };

  template <class T>
  __device__ T* at(std::int64_t offset) const {
    return reinterpret_cast<T*>(shared_ + offset);
  }
  __device__ std::byte* peer(int rank) const { return at<std::byte*>(map_.peers)[rank]; }
  __device__ int num_ranks() const { return a_.experts.num_ranks; }
  __device__ std::int64_t* waited(int peer) const {
    return a_.waited_ns == nullptr ? nullptr : a_.waited_ns + peer;
  }
  __device__ bool failed() const { return *at<volatile std::uint32_t>(map_.failed) != 0; }
  __device__ void note(bool missed) {
    if (missed) ptx::red_or_relaxed_cta_shared_u32(at<std::uint32_t>(map_.failed), 1);
  }
  __device__ void set_epochs(std::uint32_t epoch, std::uint32_t dispatched) {
    epoch_ = epoch;
    depth_ = protocol::depth_of(a_.op, epoch);
    dispatched_ = dispatched;
  }
  __device__ const std::uint16_t* expert_row(std::uint32_t row) const {
    return a_.x + static_cast<std::int64_t>(row) * hidden_;
  }
  __device__ Word* home_flag(int rank, std::int64_t slot) const {
    return reinterpret_cast<Word*>(peer(rank) + a_.op.map.combine_flag(depth_, slot));
  }
  __device__ std::byte* home_row(int rank, std::int64_t slot) const {
    return peer(rank) + a_.op.map.combine_row(depth_, slot);
  }

  // The row warps begin at once; the sending warp first makes sure that the depth is free. A token
  // is sent to only after that, and the signal, which says only that this rank has come this far.
  __device__ void begin_send() {
    Word depths = 0;
    if (place_.sends()) {
      depths = place_.peek_depths();
      if (place_.lane == 0) {
        *at<std::uint32_t>(map_.failed) = 0;
        if (kAtExpertRank) ring_.init(kRowWarps);
      }
      for (int i = place_.lane; !kAtExpertRank && i < kCopyRows; i += kWarpLanes) {
        ptx::mbarrier_init(at<std::uint64_t>(map_.barriers) + i, 1);
        ptx::fence_mbarrier_init_release_cluster();
      }
    }
    const std::uint32_t newest = protocol::state_of(a_.op).epoch;
    const std::uint32_t dispatched = protocol::record_of(a_.op).dispatch_epoch;
    __syncthreads();
    set_epochs(newest + 1, dispatched);
    if (!place_.sends()) return;
    for (int rank = place_.lane; rank < num_ranks(); rank += kWarpLanes) {
      at<std::byte*>(map_.peers)[rank] = place_.machine.peers[rank];
    }
    may_send_ = !place_.await_depth(depths, epoch_, {machine::Operation::kCombineSend},
                                    a_.waited_ns);
    note(!may_send_);
    __syncwarp();
    if (place_.worker > 0 || !may_send_) return;
    for (int to = place_.lane; to < num_ranks(); to += kWarpLanes) {
      if (place_.active()[to] == 0) continue;
      const std::int64_t signal =
          a_.op.map.signal_flag(layout::Signal::kCombine, depth_, place_.rank(), 0);
      ptx::st_relaxed_sys_u64(reinterpret_cast<Word*>(peer(to) + signal),
                              layout::make_word(epoch_, 0));
    }
  }

  // A source after another, the next rank's tokens first.
  __device__ int num_homes() const {
    return (num_ranks() - (keeps_own_ ? 1 : 0)) * a_.op.map.shape.max_tokens;
  }
  __device__ Homeward load_home(int i) const {
    Homeward home;
    if (i >= num_homes()) return home;
    const int step = i / a_.op.map.shape.max_tokens;
    home.source = (place_.rank() + 1 + step) % num_ranks();
    home.token = i - step * a_.op.map.shape.max_tokens;
    home.active = place_.active()[home.source];
    home.term = load_term(home.source, home.token);
    return home;
  }
  __device__ Term load_term(int source, int token) const {
    if (place_.lane >= a_.topk.k) return {};
    const auto words = *reinterpret_cast<const uint4*>(
        a_.op.local + a_.op.local_map.term(a_.op.handle_slot, source,
                                           std::int64_t{token} * a_.topk.k + place_.lane));
    return {words.x, words.y, __uint_as_float(words.z)};
  }
  __device__ bool is_named(const Term& term) const {
    return place_.lane < a_.topk.k && term.epoch == dispatched_;
  }

  __device__ void send_rows(const Share& share, const Homeward& first) {
    if constexpr (!kAtExpertRank) {
      if (place_.sends()) copy_rows(share, first);
    } else if (place_.sends()) {
      send_sums(share, first);
    } else if (place_.has_rows()) {
      make_sums(share, first);
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

  __device__ void make_sums(const Share& share, const Homeward& first) {
    const int homes = num_homes();
    Homeward next = first;
    for (int i = share.first; i < homes; i += share.step) {
      const Homeward home = next;
      next = load_home(i + share.step);
      const unsigned named = __ballot_sync(kAllLanes, is_named(home.term));
      if (named == 0 || home.active == 0) continue;
      const Channels<kUnits> sum = sum_terms(home.term, named).rounded();
      ring_.await_empty();
      store_channels(sum, ring_.row(), hidden_);
      ptx::fence_proxy_async_shared_cta();
      ring_.fill();
    }
  }

  __device__ void send_sums(const Share& share, const Homeward& first) {
    const int homes = num_homes();
    SentRows sent(epoch_);
    Homeward next = first;
    for (int i = share.first; i < homes; i += share.step) {
      const Homeward home = next;
      next = load_home(i + share.step);
      const unsigned named = __ballot_sync(kAllLanes, is_named(home.term));
      if (named == 0 || home.active == 0) continue;
      const int slot = home.token * a_.topk.k + __ffs(named) - 1;
      ring_.await_full();
      const bool copies = place_.lane == 0 && may_send_;
      if (copies) {
        ptx::bulk_copy_shared_to_global(home_row(home.source, slot), ring_.row(),
                                        static_cast<std::uint32_t>(2 * hidden_));
      }
      sent.add(copies ? home_flag(home.source, slot) : nullptr);
      ring_.take();
    }
    sent.finish();
  }

  // Rows as they are, by the sending warp alone, a batch after another: a lane for each row.
  struct Batch {
    unsigned rows = 0;      // lanes that have one
    std::uint32_t nth = 0;  // of the lane's row, among all rows so far: its place in the ring
    Word* flag = nullptr;
    std::byte* to = nullptr;
  };
  __device__ void copy_rows(const Share& share, const Homeward& first) {
    if (!may_send_) return;
    const int homes = num_homes();
    std::uint32_t loaded = 0;
    Batch batches[2];  // on the link, and loaded
    Homeward next = first;
    for (int i = share.first; i < homes; i += share.step) {
      const Homeward home = next;
      next = load_home(i + share.step);
      const std::uint32_t key = is_named(home.term) ? home.term.row : ~std::uint32_t{0};
      const unsigned same = __match_any_sync(kAllLanes, key);
      const unsigned below = (1u << place_.lane) - 1;
      const bool goes = is_named(home.term) && home.active != 0 && (same & below) == 0;
      unsigned left = __ballot_sync(kAllLanes, goes);
      while (left != 0) {
        unsigned now = left;
        while (__popc(now) > kCopyRows / kCopyBatches) now &= ~(0x80000000u >> __clz(now));
        left &= ~now;
        Batch batch;
        batch.rows = now;
        batch.nth = loaded + static_cast<std::uint32_t>(__popc(now & below));
        if ((now >> place_.lane & 1u) != 0) {
          const int slot = home.token * a_.topk.k + place_.lane;
          batch.to = home_row(home.source, slot);
          batch.flag = home_flag(home.source, slot);
          start_copy(batch, home.term.row);
        }
        loaded += static_cast<std::uint32_t>(__popc(now));
        pass_on(batches[1]);
        raise_copied<1>(batches[0]);
        batches[0] = batches[1];
        batches[1] = batch;
      }
    }
    pass_on(batches[1]);
    raise_copied<1>(batches[0]);
    raise_copied<0>(batches[1]);
  }

  __device__ std::byte* copied_row(const Batch& batch) const {
    return shared_ + map_.ring + static_cast<int>(batch.nth % kCopyRows) * map_.row_bytes;
  }
  __device__ std::uint64_t* copied_barrier(const Batch& batch) const {
    return at<std::uint64_t>(map_.barriers) + batch.nth % kCopyRows;
  }
  __device__ void start_copy(const Batch& batch, std::uint32_t row) const {
    const auto bytes = static_cast<std::uint32_t>(2 * hidden_);
    ptx::mbarrier_arrive_expect_tx_release_cta(copied_barrier(batch), bytes);
    ptx::bulk_copy_global_to_shared(copied_row(batch), expert_row(row), bytes,
                                    copied_barrier(batch));
  }
  // A loaded batch onto the link.
  __device__ void pass_on(const Batch& batch) const {
    if (batch.to != nullptr) {
      while (!ptx::mbarrier_try_wait_parity_acquire_cta(copied_barrier(batch),
                                                        batch.nth / kCopyRows & 1u)) {
      }
      ptx::bulk_copy_shared_to_global(batch.to, copied_row(batch),
                                      static_cast<std::uint32_t>(2 * hidden_));
    }
    ptx::bulk_commit_group();
    __syncwarp();
  }
  // The flags of a batch that has arrived: all but the newest kLater batches have.
  template <int kLater>
  __device__ void raise_copied(const Batch& batch) const {
    ptx::bulk_wait_group<kLater>();
    __syncwarp();
    if (batch.flag != nullptr) ptx::st_release_sys_u64(batch.flag, layout::make_word(epoch_, 0));
    __syncwarp();
  }

  __device__ Arriving load_token(int token) const {
    Arriving in;
    if (place_.lane >= a_.topk.k || token >= a_.topk.num_tokens) return in;
    in.expert = a_.topk.expert(token, place_.lane);
    if (!kAtExpertRank) in.weight = a_.weights[std::int64_t{token} * a_.topk.k + place_.lane];
    if (keeps_own_) in.own = load_term(place_.rank(), token);
    return in;
  }

  __device__ void receive_tokens(const Share& share, const Arriving& first) {
    if (!place_.has_rows()) return;
    Arriving next = first;
    for (int token = share.first; token < a_.topk.num_tokens; token += share.step) {
      const Arriving in = next;
      next = load_token(token + share.step);
      if (!receive_token(token, in)) {
        note(true);
        return;
      }
    }
  }

  // A warp's part of a token's channels. Its lanes are choices where flags and weights are concerned.
  __device__ bool receive_token(int token, const Arriving& in) {
    const int lane = place_.lane;
    const int rank = in.expert >= 0 ? a_.experts.rank_of(in.expert) : -1;
    const bool counts = in.expert >= 0 && place_.active()[rank] != 0;
    // One row for each rank, or for each expert that is named: in its first choice's slot.
    const unsigned same = __match_any_sync(kAllLanes, kAtExpertRank ? rank : in.expert);
    const int first = __ffs(same) - 1;
    const bool own = keeps_own_ && rank == place_.rank();
    const unsigned adds = __ballot_sync(kAllLanes, counts && (!kAtExpertRank || first == lane));
    const unsigned owns = __ballot_sync(kAllLanes, own);
    Channels<kUnits> own_sum{};
    if (kAtExpertRank && (adds & owns) != 0) {
      own_sum = sum_terms(in.own, __ballot_sync(kAllLanes, is_named(in.own))).rounded();
    }
    const std::int64_t slots = std::int64_t{token} * a_.topk.k;
    bool reached = true;
    if (counts && first == lane && !own) {
      reached = place_.flags
                    .wait(place_.word(a_.op.map.combine_flag(depth_, slots + lane)), epoch_,
                          {machine::Operation::kCombineReceive, 0, rank}, waited(rank))
                    .reached;
    }
    if (__any_sync(kAllLanes, !reached) != 0) return false;
    __syncwarp();
    const std::byte* row =
        own ? reinterpret_cast<const std::byte*>(expert_row(in.own.row))
            : place_.machine.local + a_.op.map.combine_row(depth_, slots + first);
    Sums<kUnits> sums;
    sums.clear();
    add_rows(sums, adds, owns, {row, in.weight, own_sum});
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

  // The sending warp's, when all row warps of the block have read what they read. Every peer came
  // this far, also one that had nothing for this rank.
  __device__ void end_receive(bool ends_send) {
    if (place_.has_rows()) {
      ptx::barrier_cta_arrive(kReadBarrier, kReadThreads);
      return;
    }
    if (!place_.sends()) return;
    if (place_.worker == 0 && !failed()) await_signals();
    ptx::barrier_cta_sync(kReadBarrier, kReadThreads);
    if (!place_.is_last(layout::Phase::kCombineReceive)) return;
    if (!failed()) place_.raise_received(epoch_);
    if (ends_send) store_epochs();
  }

  __device__ void await_signals() {
    for (int source = place_.lane; source < num_ranks(); source += kWarpLanes) {
      if (place_.active()[source] == 0) continue;
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
  RowRing ring_;
  int hidden_;
  std::uint32_t epoch_ = 0, dispatched_ = 0;
  int depth_ = 0;
  bool keeps_own_ = false;  // this rank's own rows are summed where the experts left them
  bool may_send_ = false;   // the sending warp's: the depth is free at every peer
};

}  // namespace braid::cuda
