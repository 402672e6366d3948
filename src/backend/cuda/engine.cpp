#include "backend/cuda/engine.hpp"

#include <algorithm>
#include <atomic>
#include <new>

#include "backend/cuda/device_guard.hpp"
#include "base/check.hpp"

namespace braid::cuda {

using machine::TimeoutRecord;
using protocol::CombineArgs;
using protocol::DispatchArgs;
using protocol::Launch;

namespace {

template <class T, class U>
bool same_owner(const std::weak_ptr<T>& a, const std::weak_ptr<U>& b) {
  return !a.owner_before(b) && !b.owner_before(a);
}

}  // namespace

protocol::Budget budget_of(const EngineSetup& setup) {
  const int sms = setup.device->num_workers();
  const int each = sms / setup.ranks_on_device;
  if (each < 1) {
    fail(ErrorCode::kInvalidArgument, "{} ranks share {}, but its {} SMs are enough for {} at most",
         setup.ranks_on_device, setup.device->name(), sms, sms);
  }
  return {each, each,
          setup.ranks_on_device == 1 ? fmt::format("the SMs of {}", setup.device->name())
                                     : fmt::format("the {} SMs of {}, shared by {} ranks", sms,
                                                   setup.device->name(), setup.ranks_on_device)};
}

CudaEngine::CudaEngine(EngineSetup setup, protocol::EngineOwner& owner)
    : setup_(std::move(setup)), owner_(owner), budget_(budget_of(setup_)) {
  CudaDevice& device = *setup_.device;
  {
    const DeviceGuard guard(device.index());
    load_kernels();
  }
  local_ = device.allocate(static_cast<std::size_t>(setup_.local_bytes));
  const std::vector<std::uint32_t> active(setup_.memory.peers.size(), 1);
  device.copy_in(local() + setup_.active_at, active.data(), active.size() * sizeof(active[0]));
  const auto& peers = setup_.memory.peers;
  peers_ = device.allocate(peers.size() * sizeof(peers[0]));
  device.copy_in(peers_.get(), peers.data(), peers.size() * sizeof(peers[0]));
  status_ = device.allocate(sizeof(RankStatus));
  timeout_ = device.allocate_pinned(sizeof(TimeoutRecord));
  new (timeout_.get()) TimeoutRecord;
  if (setup_.host_bytes > 0) {
    host_ = device.allocate_pinned(static_cast<std::size_t>(setup_.host_bytes));
  }
}

CudaEngine::~CudaEngine() {
  const DeviceGuard guard(setup_.device->index());
  for (const auto& [stream, event] : newest_) {
    static_cast<const CudaEvent*>(event.backend())->settle();
  }
}

void CudaEngine::check(const DispatchArgs& args) const { shared_map_of(args); }
void CudaEngine::check(const CombineArgs& args) const { shared_map_of(args); }
void CudaEngine::check(const protocol::LayoutArgs& args) const { shared_map_of(args); }
void CudaEngine::check(const protocol::RowsDispatchArgs& args) const { shared_map_of(args); }
void CudaEngine::check(const protocol::RowsCombineArgs& args) const { shared_map_of(args); }
void CudaEngine::check(const braid::detail::StreamBackend& stream) const {
  const int device = static_cast<const CudaStream&>(stream).device();
  require(device == setup_.device->index(),
          "the stream is of CUDA device {}, but rank {} computes on device {}", device, setup_.rank,
          setup_.device->index());
}

MachineArgs CudaEngine::machine(int workers) const {
  MachineArgs args;
  args.rank = setup_.rank;
  args.num_workers = workers;
  args.peers = static_cast<std::byte* const*>(peers_.get());
  args.local = setup_.memory.local;
  args.status = static_cast<RankStatus*>(status_.get());
  // Unified addressing: the device's pointer too.
  args.timeout = reinterpret_cast<TimeoutRecord*>(timeout_.get());
  args.timeout_ns = setup_.timeout_ms * 1'000'000;
  args.starts_early = starts_early_;
  args.takes_device = starts_early_ && workers >= setup_.device->num_workers();
  return args;
}

DispatchKernelArgs CudaEngine::with(const DispatchArgs& args, int workers, int round) const {
  DispatchKernelArgs all{args, machine(workers), round};
  all.machine.shared = shared_map_of(args);
  return all;
}

CombineKernelArgs CudaEngine::with(const CombineArgs& args, int workers, int round) const {
  CombineKernelArgs all{args, machine(workers), round};
  all.machine.shared = shared_map_of(args);
  return all;
}

template <class Operation>
ThroughputKernelArgs<Operation> CudaEngine::with(const Operation& operation, int workers) const {
  ThroughputKernelArgs<Operation> all{operation, machine(workers)};
  share_memory(operation, all.machine);
  return all;
}

// Ranks that share a device have each a part of its SMs. A rank's launches run one after the other,
// in the order of its calls, whatever their streams: two grids of one rank at once would take what
// another rank's grid needs, and a grid that waits never gives it back. One rank's launch can't
// starve another's then, and each waits only for launches that come earlier in every rank's calls.
template <class Start>
Event CudaEngine::enqueue(const Launch& launch, Start start) {
  auto& stream = static_cast<CudaStream&>(launch.stream);
  const DeviceGuard guard(stream.device());
  stream.watch(owner_.weak_from_this());
  LaunchOrder& launches = setup_.device->launches();
  const bool shared = setup_.ranks_on_device > 1;
  try {
    const std::lock_guard lock(launches.mutex);
    if (shared) launches.order.enter(stream);
    starts_early_ = !shared && may_start_early(stream);
    start(stream.stream());
    const Event done(stream.record());
    if (shared) launches.order.leave(stream, done);
    remember(stream, done);
    return done;
  } catch (...) {
    owner_.fail(std::current_exception());
    tell_peers();
    throw;
  }
}

// This rank can't go on, and its peers are not to wait for it: the line that a kernel would write
// when it gives up. The flag comes last, by a copy of its own. Where the device is lost too, the
// peers have their deadline.
void CudaEngine::tell_peers() const {
  for (std::size_t peer = 0; peer < setup_.memory.peers.size(); ++peer) {
    if (static_cast<int>(peer) != setup_.rank) tell(setup_.memory.peers[peer]);
  }
}

// This rank's own kernels look for the line too: they may wait for work that will not come.
void CudaEngine::abandon() {
  tell_peers();
  tell(setup_.memory.local);
}

void CudaEngine::tell(std::byte* block) const {
  layout::AbortRecord record;
  record.culprit = setup_.rank;
  record.raised = static_cast<layout::Word>(setup_.rank) + 1;
  constexpr std::size_t kFlag = sizeof(record.raised);
  const auto* bytes = reinterpret_cast<const std::byte*>(&record);
  std::byte* line = block + setup_.control.abort_record(setup_.rank);
  try {
    setup_.device->copy_in(line + kFlag, bytes + kFlag, sizeof(record) - kFlag);
    setup_.device->copy_in(line, bytes, kFlag);
  } catch (const Error&) {
    return;
  }
}

// Blocks that start early compete for the SMs that the last launch leaves, with whatever else waits
// for some. Where that may be a receive of this buffer on another stream, which a later launch
// waits for, nothing starts early.
bool CudaEngine::may_start_early(const CudaStream& stream) {
  if (stream.is_captured()) {
    captured_on_several_ |= captured_on_ != nullptr && captured_on_ != stream.stream();
    captured_on_ = stream.stream();
    return !captured_on_several_;
  }
  const std::weak_ptr<const braid::detail::StreamBackend> here = stream.weak_from_this();
  return std::all_of(newest_.begin(), newest_.end(), [&here](const auto& each) {
    return same_owner(each.first, here) || each.second.ready();
  });
}

void CudaEngine::remember(const CudaStream& stream, const Event& event) {
  // What is captured does not run now, and what was enqueued before is still to be waited for.
  if (event.backend()->captured()) return;
  const std::weak_ptr<const braid::detail::StreamBackend> here = stream.weak_from_this();
  std::erase_if(newest_,
                [](const auto& each) { return each.first.expired() && each.second.ready(); });
  const auto known = std::find_if(newest_.begin(), newest_.end(), [&here](const auto& each) {
    return same_owner(each.first, here);
  });
  if (known == newest_.end()) {
    newest_.emplace_back(here, event);
  } else {
    known->second = event;
  }
}

Event CudaEngine::dispatch_send(const Launch& launch, const DispatchArgs& args, int round) {
  return enqueue(launch, [&](cudaStream_t stream) {
    launch_dispatch_send(with(args, launch.workers, round), stream);
  });
}

Event CudaEngine::dispatch_receive(const Launch& launch, const DispatchArgs& args, int round) {
  return enqueue(launch, [&](cudaStream_t stream) {
    launch_dispatch_receive(with(args, launch.workers, round), stream);
  });
}

Event CudaEngine::combine_send(const Launch& launch, const CombineArgs& args, int round) {
  return enqueue(launch, [&](cudaStream_t stream) {
    launch_combine_send(with(args, launch.workers, round), stream);
  });
}

Event CudaEngine::combine_receive(const Launch& launch, const CombineArgs& args) {
  return enqueue(launch, [&](cudaStream_t stream) {
    launch_combine_receive(with(args, launch.workers, 0), stream);
  });
}

Event CudaEngine::dispatch(const Launch& launch, const DispatchArgs& args) {
  return enqueue(
      launch, [&](cudaStream_t stream) { launch_dispatch(with(args, launch.workers, 0), stream); });
}

Event CudaEngine::combine(const Launch& launch, const CombineArgs& args) {
  return enqueue(
      launch, [&](cudaStream_t stream) { launch_combine(with(args, launch.workers, 0), stream); });
}

Event CudaEngine::layout(const Launch& launch, const protocol::LayoutArgs& args) {
  return enqueue(launch,
                 [&](cudaStream_t stream) { launch_layout(with(args, launch.workers), stream); });
}

Event CudaEngine::dispatch(const Launch& launch, const protocol::RowsDispatchArgs& args) {
  return enqueue(launch, [&](cudaStream_t stream) {
    launch_dispatch_rows(with(args, launch.workers), stream);
  });
}

Event CudaEngine::combine(const Launch& launch, const protocol::RowsCombineArgs& args) {
  return enqueue(launch, [&](cudaStream_t stream) {
    launch_combine_rows(with(args, launch.workers), stream);
  });
}

std::optional<protocol::Failure> CudaEngine::failure() const {
  auto* record = reinterpret_cast<TimeoutRecord*>(timeout_.get());
  const std::atomic_ref<std::uint32_t> state(record->state);
  if (state.load(std::memory_order_acquire) != 2) return std::nullopt;
  const std::lock_guard lock(failure_mutex_);
  if (!failure_) failure_ = read_failure();
  return failure_;
}

std::optional<machine::BadChoiceRecord> CudaEngine::take_bad_choice() {
  auto& record = reinterpret_cast<TimeoutRecord*>(timeout_.get())->bad_choice;
  const std::atomic_ref<std::uint32_t> state(record.state);
  if (state.load(std::memory_order_acquire) != 2) return std::nullopt;
  const std::lock_guard lock(failure_mutex_);
  if (state.load(std::memory_order_acquire) != 2) return std::nullopt;
  const machine::BadChoiceRecord taken = record;
  state.store(0, std::memory_order_relaxed);
  // Last: a kernel that sees it may write the record again.
  const std::atomic_ref<std::uint32_t> times_read(record.times_read);
  times_read.store(taken.times_read + 1, std::memory_order_release);
  return taken;
}

// The record doesn't say whether this rank's own wait ended or a peer's report was heard; the line
// that a peer has written does. Where both are there they say the same.
protocol::Failure CudaEngine::read_failure() const {
  const auto& record = *reinterpret_cast<const TimeoutRecord*>(timeout_.get());
  protocol::Failure failure{record.tag, record.expected_epoch, record.seen, setup_.rank, false};
  const std::vector<int> dead = setup_.dead_peers ? setup_.dead_peers() : std::vector<int>{};
  failure.peer_ended = std::find(dead.begin(), dead.end(), record.tag.peer) != dead.end();
  if (record.seen != 0) return failure;
  for (int peer = 0; peer < setup_.control.num_ranks; ++peer) {
    layout::AbortRecord line;
    try {
      setup_.device->copy_out(&line, setup_.memory.local + setup_.control.abort_record(peer),
                              sizeof(line));
    } catch (const Error&) {
      return failure;  // the device is lost: what the record says is all there is
    }
    if (line.raised == 0 || line.culprit != record.tag.peer || line.round != record.tag.round ||
        line.epoch != record.expected_epoch || line.expert != record.tag.expert) {
      continue;
    }
    failure.reporter = peer;
    break;
  }
  return failure;
}

namespace {

[[noreturn]] void fail_uncounted() {
  fail(ErrorCode::kMissing, "traffic is counted on the backend cpu only: kernels don't count it");
}

}  // namespace

Traffic CudaEngine::dispatch_traffic() const { fail_uncounted(); }
Traffic CudaEngine::combine_traffic() const { fail_uncounted(); }

}  // namespace braid::cuda
