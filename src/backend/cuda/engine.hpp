// The roles as kernels on CUDA streams.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "backend/cuda/device.hpp"
#include "backend/cuda/kernels.hpp"
#include "backend/cuda/stream.hpp"
#include "backend/cuda/throughput_kernels.hpp"
#include "layout/local.hpp"
#include "protocol/engine.hpp"
#include "transport/symmetric_memory.hpp"

namespace braid::cuda {

struct EngineSetup {
  int rank = 0;
  layout::ControlMap control;
  std::int64_t local_bytes = 0;
  std::int64_t active_at = 0;   // in the local block: [R] u32
  std::int64_t host_bytes = 0;  // of Engine::host_block()
  SymmetricMemory memory;
  std::int64_t timeout_ms = 0;
  std::function<std::vector<int>()> dead_peers;
  std::shared_ptr<CudaDevice> device;
  int ranks_on_device = 1;  // of this group, on this rank's device
};

// A block takes an SM, and all blocks of all ranks on a device must be resident at once: a waiting
// one keeps its SM, and would keep out the one that it waits for.
protocol::Budget budget_of(const EngineSetup& setup);

class CudaEngine final : public protocol::Engine,
                         public protocol::Engine::Fused,
                         public protocol::Engine::HighThroughput {
 public:
  CudaEngine(EngineSetup setup, protocol::EngineOwner& owner);
  // Waits until everything that it enqueued has ended; graphs are their owner's to end before.
  ~CudaEngine() override;
  CudaEngine(const CudaEngine&) = delete;
  CudaEngine& operator=(const CudaEngine&) = delete;

  std::byte* local() const override { return static_cast<std::byte*>(local_.get()); }
  std::byte* host_block() const override { return host_.get(); }
  std::byte* symmetric() const override { return setup_.memory.local; }
  const protocol::Budget& budget() const override { return budget_; }
  void check(const protocol::DispatchArgs& args) const override;
  void check(const protocol::CombineArgs& args) const override;
  void check(const braid::detail::StreamBackend& stream) const override;
  Event dispatch_send(const protocol::Launch& launch, const protocol::DispatchArgs& args,
                      int round) override;
  Event dispatch_receive(const protocol::Launch& launch, const protocol::DispatchArgs& args,
                         int round) override;
  Event combine_send(const protocol::Launch& launch, const protocol::CombineArgs& args,
                     int round) override;
  Event combine_receive(const protocol::Launch& launch, const protocol::CombineArgs& args) override;
  protocol::Engine::Fused* fused() override { return this; }
  Event dispatch(const protocol::Launch& launch, const protocol::DispatchArgs& args) override;
  Event combine(const protocol::Launch& launch, const protocol::CombineArgs& args) override;
  protocol::Engine::HighThroughput* high_throughput() override { return this; }
  void check(const protocol::LayoutArgs& args) const override;
  void check(const protocol::RowsDispatchArgs& args) const override;
  void check(const protocol::RowsCombineArgs& args) const override;
  Event layout(const protocol::Launch& launch, const protocol::LayoutArgs& args) override;
  Event dispatch(const protocol::Launch& launch, const protocol::RowsDispatchArgs& args) override;
  Event combine(const protocol::Launch& launch, const protocol::RowsCombineArgs& args) override;
  std::optional<protocol::Failure> failure() const override;
  // A kernel of this rank that waits has its deadline.
  void abandon() override;
  std::optional<machine::BadChoiceRecord> take_bad_choice() override;
  Traffic dispatch_traffic() const override;
  Traffic combine_traffic() const override;

 private:
  MachineArgs machine(int workers) const;
  DispatchKernelArgs with(const protocol::DispatchArgs& args, int workers, int round) const;
  CombineKernelArgs with(const protocol::CombineArgs& args, int workers, int round) const;
  template <class Operation>
  ThroughputKernelArgs<Operation> with(const Operation& operation, int workers) const;
  template <class Start>
  Event enqueue(const protocol::Launch& launch, Start start);
  void tell_peers() const;
  void tell(std::byte* block) const;
  void remember(const CudaStream& stream, const Event& event);
  bool may_start_early(const CudaStream& stream);
  protocol::Failure read_failure() const;

  EngineSetup setup_;
  protocol::EngineOwner& owner_;
  protocol::Budget budget_;
  std::shared_ptr<void> local_, peers_, status_;
  std::shared_ptr<std::byte> timeout_, host_;
  // The newest point of each stream that it was launched on.
  std::vector<std::pair<std::weak_ptr<const braid::detail::StreamBackend>, Event>> newest_;
  // The stream of all captured launches so far, and whether there were several.
  cudaStream_t captured_on_ = nullptr;
  bool captured_on_several_ = false;
  bool starts_early_ = false;  // the launch that is enqueued now
  mutable std::mutex failure_mutex_;
  mutable std::optional<protocol::Failure> failure_;
};

}  // namespace braid::cuda
