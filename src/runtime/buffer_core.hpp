// What every kind of buffer is made of: its engine, and how its operations fail.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "braid/group.hpp"
#include "layout/map.hpp"
#include "protocol/engine.hpp"

namespace braid::detail {

using NamedValues = std::vector<std::pair<std::string, std::string>>;

// Collective. Refuses options that differ between ranks, naming option and ranks.
void check_agreement(Group& group, const NamedValues& options);

struct BufferCore : protocol::EngineOwner {
  BufferCore(Group& its_group, int its_num_experts, std::string reads_topk)
      : group(its_group), num_experts(its_num_experts), topk_reader(std::move(reads_topk)) {}
  // Made by std::make_shared; then the streams and the group can ask for its failures.
  void watch();

  Group group;
  int num_experts;
  std::string topk_reader;  // the operation that meets bad top-k values
  std::unique_ptr<protocol::Engine> engine;

  // Epochs are 32 bits wide and must not come again: an old flag would look new.
  void check_epochs(std::uint64_t num_operations, const std::string& name) const;
  void check_stream(const Stream& stream) const;
  void throw_failure() override;
  void throw_bad_input() override;
  void throw_if_failed() override;
  void fail(std::exception_ptr failure) override;
};

// What a buffer asks of the backend of its group.
struct EngineRequest {
  BufferCore& buffer;
  layout::ControlMap control;
  std::int64_t symmetric_bytes = 0;
  std::int64_t local_bytes = 0;
  std::int64_t active_at = 0;   // in the local block
  std::int64_t host_bytes = 0;  // that the host and the roles see
  std::vector<std::pair<const char*, int>>
      workers;  // budgets, by name, to be held against the device
};

}  // namespace braid::detail
