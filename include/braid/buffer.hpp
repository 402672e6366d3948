// Buffer: the communication memory of a rank, and the operations that use it: dispatch (tokens to
// the ranks of their experts) and combine (the experts' rows back, weighted and summed).
//
// Low-latency mode: outputs have a fixed capacity and are expert-major, [Le, R*T, H] with a count
// for each local expert; rows of an expert are ordered by source rank, then token. A token that
// names one expert twice has one row there, and combine weighs that row once per naming.
//
// R ranks, E experts, Le = E/R local ones, T most tokens a rank may dispatch, H hidden size,
// k choices a token, G rounds, D depths.
//
// All ranks make the same calls on a buffer in the same order with the same options and the same k
// (token counts and contents differ freely; a rank may have none). Calls on one Buffer come from
// one thread at a time. Everything that the host can see is checked before anything is sent.
//
// Phases. An operation is begun (checked, and a place in the buffer reserved), sent and received,
// each in G rounds:
//
//   Handle handle = buffer.dispatch_begin(input, output, options);
//   for (int round = 0; round < G; ++round) buffer.dispatch_send(handle, round, stream);
//   for (int round = 0; round < G; ++round) buffer.dispatch_receive(handle, round, stream);
//
// dispatch() does all of it. Sends of an operation come in round order, so do its receives; a
// receive may be enqueued on another stream than its send. First sends of different operations
// start in the order of the calls, also across streams. At most D operations are on their way: the
// n-th one's first send is refused until the receive of the (n-D)-th was enqueued. A buffer does
// 2^32 - 2 operations, then it refuses more and a new one is to be made. Replays of graphs use them
// up unseen: at 30 us an operation, in 35 hours of nothing else.
//
// On CUDA (GroupOptions::backend) tensors are in memory that the rank's device reaches, pinned host
// memory included, streams are of Group::make_stream() or Stream::from_cuda, and nothing waits on
// the host. A failure inside a kernel, above all a peer that did not answer in time, is thrown by
// the next call on the buffer, by the synchronize() of a stream that it ran on, by Event::wait, and
// by Group::check. The host does not look at the values of topk_idx. One that names no expert
// counts as -1, and its operation goes on. The first is thrown once, as kInvalidArgument with
// token, choice and value, in the same places, but of the buffer's calls only by dispatch_begin (or
// dispatch): that call has done nothing and is to be made again. Buffer and group live on.
// Ranks that share a device share its SMs in equal parts, and each runs its own operations one at a
// time in the order of its calls, across streams: an operation must not need work that the caller
// enqueues on another stream later. A rank that has its device to itself runs operations beside
// each other where the caller's streams do; their budgets together are then to be at most the
// device's SMs. A buffer is dropped where no peer still waits for this rank's next call.
//
// Graphs. The phases of whole operations can be captured (begin, all sends and all receives within
// one capture; a dispatch, its combine, or both) and the graph launched again and again, mixed with
// plain calls, as long as the Handle and the tensors live. All ranks launch in the same order.
// Within a capture the buffer orders phases as ever; a graph's place among other work is the
// caller's to keep, by its stream and its events.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "braid/format.hpp"
#include "braid/group.hpp"
#include "braid/operations.hpp"
#include "braid/stream.hpp"
#include "braid/tensor.hpp"

namespace braid {

struct BufferOptions {
  int num_experts = 0;  // E; divisible by R
  int max_tokens = 0;   // T; the same on every rank
  int hidden = 0;       // H; a multiple of 8, of 128 for FP8 and LogFMT-10
  int top_k = 0;        // k; 1 to 32, at most E

  int depth = 2;  // D; a send needs the operation D before it to have been received (D + 1 copies)
  int max_rounds = 1;    // G of an operation may be 1 to this
  int handle_slots = 4;  // dispatches whose Handle lives at one time

  // The SM budget of a phase that does not say its own: worker threads on the CPU, thread blocks of
  // an SM each on CUDA. 0: one thread, or the device's SMs divided by the ranks that share it,
  // which is also the most there can be.
  int send_workers = 0;
  int receive_workers = 0;

  // Reserve slots for per_expert copies (min(k, Le) a token and rank instead of one).
  bool allow_per_expert = false;
  // Reserve for each handle slot a region that the experts write their rows into: combine_region().
  bool combine_regions = false;
  // A rank with at most so many tokens gets its sums (kExpertRank, BF16, H up to 7168) as words
  // that are their own flags: twice the bytes, two ways to memory less. 0: never.
  int few_tokens = 16;
  // The widest dispatch format; kFp8 halves the slots of a buffer that never dispatches BF16.
  DispatchFormat widest_dispatch = DispatchFormat::kBf16;
};

// One region of the symmetric block, in address order.
struct MemoryRegion {
  std::string name;
  std::uint64_t offset = 0;  // bytes
  std::uint64_t bytes = 0;
  std::string purpose;  // one sentence with the formula
};

struct MemoryPlan {
  std::vector<MemoryRegion> symmetric;  // the block that peers write into; one on each rank
  std::vector<MemoryRegion> local;      // this rank's own: state and handle tables
  std::uint64_t symmetric_bytes = 0;
  std::uint64_t local_bytes = 0;
};

// What crossed memory or network on behalf of this rank's sends, payload and metadata together.
// A message is one token's copy or one row; bytes also count counts, flags and signals.
struct Traffic {
  struct Count {
    std::uint64_t bytes = 0;
    std::uint64_t messages = 0;
  };
  Count local, scale_up, scale_out;  // to itself; to its node's other ranks; to other nodes
};

namespace detail {
struct BufferState;
struct HandleState;
}  // namespace detail

// What combine needs to know of a dispatch. Copies share it; when the last one goes, its slot in
// the buffer is free again: a next dispatch may take it, ordered behind what is enqueued. A
// dispatch that was sent and whose handle goes before it was received keeps its depth for good.
class Handle {
 public:
  Handle() = default;
  explicit Handle(std::shared_ptr<detail::HandleState> state) : state_(std::move(state)) {}
  bool valid() const { return state_ != nullptr; }
  detail::HandleState& state() const { return *state_; }

 private:
  std::shared_ptr<detail::HandleState> state_;
};

class Buffer {
 public:
  // What a buffer would take, region by region, to the byte. Throws what the constructor would.
  static MemoryPlan plan(const Topology& topology, const BufferOptions& options);

  // Collective. Throws kInvalidArgument naming the option, also where ranks disagree.
  Buffer(Group& group, const BufferOptions& options);

  const BufferOptions& options() const;
  Group& group() const;

  // Begin, all sends, all receives; enqueued, not waited for. On CUDA an operation of one round is
  // one launch, where both phases have the same budget.
  Handle dispatch(const DispatchInput& input, const DispatchOutput& output,
                  const DispatchOptions& options, Stream& stream);
  Handle dispatch_begin(const DispatchInput& input, const DispatchOutput& output,
                        const DispatchOptions& options);
  void dispatch_send(const Handle& handle, int round, Stream& stream);
  void dispatch_receive(const Handle& handle, int round, Stream& stream);
  // The receive of a round as a callable, to start it later.
  Hook dispatch_hook(const Handle& handle, int round);

  // The reverse, on the handle of a dispatch. A round's send needs the receives of the dispatch
  // rounds that its experts are in (kTokenRank), or all of them (kExpertRank), enqueued before. One
  // combine at a time a handle; a handle may be combined again after its combine was received.
  // With block signals (operations.hpp) a send may be enqueued beside the work that makes its rows.
  void combine(const Handle& handle, const CombineInput& input, const CombineOutput& output,
               const CombineOptions& options, Stream& stream);
  void combine_begin(const Handle& handle, const CombineInput& input, const CombineOutput& output,
                     const CombineOptions& options);
  void combine_send(const Handle& handle, int round, Stream& stream);
  // The same with this round's rows given now: [Le/G, R*T, H] (rows_of_one_round).
  void combine_send(const Handle& handle, int round, const Tensor& rows, Stream& stream);
  // Receives all rounds at once.
  void combine_receive(const Handle& handle, Stream& stream);
  Hook combine_hook(const Handle& handle);

  // Where the experts may write their rows, so that nobody copies them: [Le, R*T, H] bf16, at one
  // address for the handle's slot as long as the buffer lives. It is the handle's from its first
  // dispatch_receive on until its last combine was received, and needs combine_regions.
  Tensor combine_region(const Handle& handle) const;

  // Since the buffer was made; settles after the streams were synchronized. Throws kMissing on
  // CUDA, where kernels don't count.
  Traffic dispatch_traffic() const;
  Traffic combine_traffic() const;

  detail::BufferState& state() const { return *state_; }

 private:
  std::shared_ptr<detail::BufferState> state_;
};

}  // namespace braid
