// What one dispatch and its combine read and write, in the memory of a rank's device.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "app/bench_case.hpp"
#include "braid/buffer.hpp"
#include "layout/scales.hpp"
#include "machine/device_backend.hpp"

namespace braid::app {

class DeviceSet {
 public:
  // Takes memory: before operations begin.
  DeviceSet(std::shared_ptr<detail::DeviceBackend> device, const BenchOptions& options,
            const BenchCase& bench, const BenchInputs& inputs);

  DispatchInput dispatch_input() const;
  DispatchOutput dispatch_output() const;
  CombineInput combine_input() const;
  CombineOutput combine_output() const { return {output_, {}}; }

  // The identity experts' outputs, from what a dispatch left. Not needed for BF16, whose rows are
  // combine's as they are.
  void decode_rows();
  // Values that are no numbers, where a dispatch or a combine is to write.
  void poison_received();
  void poison_output();

  std::vector<std::int32_t> counts() const;
  // Counts, and the rows that they count with their scales.
  std::string received() const;
  std::string output() const;

 private:
  // What one expert has received.
  struct ExpertRows {
    std::int64_t count = 0;
    std::vector<std::byte> rows, scales;  // the scales of all rows that there is room for
  };
  ExpertRows read_expert(std::int64_t expert, std::int64_t count) const;
  bool fp8() const { return options_.dispatch != DispatchFormat::kBf16; }

  std::shared_ptr<detail::DeviceBackend> device_;
  const CommunicationOptions& options_;
  layout::ScaleShape scale_shape_;
  std::shared_ptr<void> memory_;
  Tensor x_, topk_idx_, topk_weights_, received_, scales_, counts_, rows_, output_;
};

}  // namespace braid::app
