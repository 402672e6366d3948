#include "backend/cpu/engine.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "backend/cpu/roles.hpp"
#include "base/check.hpp"

namespace braid::cpu {

using protocol::CombineArgs;
using protocol::DispatchArgs;
using protocol::Launch;

LocalBlock::LocalBlock(std::size_t bytes) : bytes_(bytes) {
  if (bytes == 0) return;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    fail(ErrorCode::kMissing, "can't allocate {} bytes for a buffer's tables: {}", bytes,
         std::strerror(errno));
  }
  data_ = static_cast<std::byte*>(memory);
}

LocalBlock::~LocalBlock() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

CpuEngine::CpuEngine(EngineSetup setup, protocol::EngineOwner& owner)
    : local_(static_cast<std::size_t>(setup.local_bytes)),
      host_(static_cast<std::size_t>(setup.host_bytes)),
      context_(setup.rank, setup.control, std::move(setup.memory), setup.timeout_ms,
               std::move(setup.dead_peers)),
      owner_(owner),
      budget_{1, std::numeric_limits<int>::max(), "what an int holds"} {
  auto* active = reinterpret_cast<std::uint32_t*>(local_.data() + setup.active_at);
  std::fill_n(active, setup.control.num_ranks, 1U);
}

// What it captures keeps handle, buffer and this engine alive until it has run.
template <class Role>
Event CpuEngine::enqueue(const Launch& launch, Role role) {
  launch.stream.run_workers(launch.workers,
                            [this, keep = launch.keep, role](int worker, int workers) {
                              try {
                                if (!context_.failed()) role(context_, worker, workers);
                              } catch (...) {
                                // A link that is down, or no memory: the peers should not wait for
                                // this rank.
                                context_.fail_here();
                                owner_.fail(std::current_exception());
                                throw;
                              }
                              owner_.throw_if_failed();
                            });
  return Event(launch.stream.record());
}

Event CpuEngine::dispatch_send(const Launch& launch, const DispatchArgs& args, int round) {
  return enqueue(launch, [args, round](RankContext& context, int worker, int workers) {
    run_dispatch_send(context, args, round, worker, workers);
  });
}

Event CpuEngine::dispatch_receive(const Launch& launch, const DispatchArgs& args, int round) {
  return enqueue(launch, [args, round](RankContext& context, int worker, int workers) {
    run_dispatch_receive(context, args, round, worker, workers);
  });
}

Event CpuEngine::combine_send(const Launch& launch, const CombineArgs& args, int round) {
  return enqueue(launch, [args, round](RankContext& context, int worker, int workers) {
    run_combine_send(context, args, round, worker, workers);
  });
}

Event CpuEngine::combine_receive(const Launch& launch, const CombineArgs& args) {
  return enqueue(launch, [args](RankContext& context, int worker, int workers) {
    run_combine_receive(context, args, worker, workers);
  });
}

Event CpuEngine::layout(const Launch& launch, const protocol::LayoutArgs& args) {
  return enqueue(launch, [args](RankContext& context, int worker, int workers) {
    run_layout(context, args, worker, workers);
  });
}

Event CpuEngine::dispatch(const Launch& launch, const protocol::RowsDispatchArgs& args) {
  return enqueue(launch, [args](RankContext& context, int worker, int workers) {
    run_dispatch_rows(context, args, worker, workers);
  });
}

Event CpuEngine::combine(const Launch& launch, const protocol::RowsCombineArgs& args) {
  return enqueue(launch, [args](RankContext& context, int worker, int workers) {
    run_combine_rows(context, args, worker, workers);
  });
}

std::optional<protocol::Failure> CpuEngine::failure() const {
  if (!context_.failed()) return std::nullopt;
  return context_.failure();
}

namespace {

Traffic traffic_of(const TrafficCounters& counters) {
  const auto count = [&counters](std::size_t distance) {
    return Traffic::Count{counters.bytes[distance].load(std::memory_order_relaxed),
                          counters.messages[distance].load(std::memory_order_relaxed)};
  };
  return {count(0), count(1), count(2)};
}

}  // namespace

Traffic CpuEngine::dispatch_traffic() const {
  return traffic_of(context_.traffic(Kind::kDispatch));
}
Traffic CpuEngine::combine_traffic() const { return traffic_of(context_.traffic(Kind::kCombine)); }

}  // namespace braid::cpu
