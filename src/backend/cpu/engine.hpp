// The roles as operations of CPU streams.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

#include "backend/cpu/rank_context.hpp"
#include "layout/local.hpp"
#include "protocol/engine.hpp"

namespace braid::cpu {

// Zero-filled memory of this rank alone; pages that are never touched cost nothing.
class LocalBlock {
 public:
  explicit LocalBlock(std::size_t bytes);
  LocalBlock(const LocalBlock&) = delete;
  LocalBlock& operator=(const LocalBlock&) = delete;
  ~LocalBlock();
  std::byte* data() const { return data_; }

 private:
  std::byte* data_ = nullptr;
  std::size_t bytes_ = 0;
};

struct EngineSetup {
  int rank = 0;
  layout::ControlMap control;
  std::int64_t local_bytes = 0;
  std::int64_t active_at = 0;   // in the local block: [R] u32
  std::int64_t host_bytes = 0;  // of Engine::host_block(), where it is needed
  SymmetricMemory memory;
  std::int64_t timeout_ms = 0;
  std::function<std::vector<int>()> dead_peers;
};

class CpuEngine final : public protocol::Engine, public protocol::Engine::HighThroughput {
 public:
  CpuEngine(EngineSetup setup, protocol::EngineOwner& owner);

  std::byte* local() const override { return local_.data(); }
  std::byte* host_block() const override { return host_.data(); }
  std::byte* symmetric() const override { return context_.local(); }
  const protocol::Budget& budget() const override { return budget_; }
  Event dispatch_send(const protocol::Launch& launch, const protocol::DispatchArgs& args,
                      int round) override;
  Event dispatch_receive(const protocol::Launch& launch, const protocol::DispatchArgs& args,
                         int round) override;
  Event combine_send(const protocol::Launch& launch, const protocol::CombineArgs& args,
                     int round) override;
  Event combine_receive(const protocol::Launch& launch, const protocol::CombineArgs& args) override;
  protocol::Engine::HighThroughput* high_throughput() override { return this; }
  Event layout(const protocol::Launch& launch, const protocol::LayoutArgs& args) override;
  Event dispatch(const protocol::Launch& launch, const protocol::RowsDispatchArgs& args) override;
  Event combine(const protocol::Launch& launch, const protocol::RowsCombineArgs& args) override;
  std::optional<protocol::Failure> failure() const override;
  void abandon() override { context_.fail_here(); }
  Traffic dispatch_traffic() const override;
  Traffic combine_traffic() const override;

 private:
  template <class Role>
  Event enqueue(const protocol::Launch& launch, Role role);

  LocalBlock local_, host_;
  RankContext context_;
  protocol::EngineOwner& owner_;
  protocol::Budget budget_;
};

}  // namespace braid::cpu
