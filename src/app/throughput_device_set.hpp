// What one dispatch and its combine of high throughput read and write, in the memory of a rank's
// device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "app/bench_case.hpp"
#include "braid/high_throughput.hpp"
#include "machine/device_backend.hpp"

namespace braid::app {

// FP8 rows are given as they are to arrive: the host quantizes the tokens once.
class ThroughputDeviceSet {
 public:
  // Takes memory: before operations begin. Outputs have room for all that a rank may receive.
  ThroughputDeviceSet(std::shared_ptr<detail::DeviceBackend> device, const BenchOptions& options,
                      const BenchCase& bench, const BenchInputs& inputs);

  const Tensor& topk_idx() const { return topk_idx_; }
  DispatchRows dispatch_input() const { return {x_, scales_, {}}; }
  DispatchedRows dispatch_output() const { return {received_, received_scales_, {}, {}}; }
  // The received rows as they are, or as BF16 where they are FP8.
  CombineRows combine_input() const { return {received_scales_.empty() ? received_ : rows_, {}}; }
  CombinedRows combine_output() const { return {output_, {}}; }

  // combine_input() from what a dispatch left. Not needed for BF16.
  void decode_rows(std::int64_t num_rows);
  void poison_received();
  void poison_output();

  // The first rows, one after another, then their scales: of the set's own output, or of rows that
  // are where a dispatch in place left them.
  std::string received(std::int64_t num_rows) const;
  std::string received(const DispatchedRows& rows, std::int64_t num_rows) const;
  std::string output() const;

 private:
  std::shared_ptr<detail::DeviceBackend> device_;
  std::shared_ptr<void> memory_;
  Tensor x_, scales_, topk_idx_, received_, received_scales_, rows_, output_;
};

// What ThroughputDeviceSet::received() is to be on a rank, from what all ranks send.
std::string sent_rows(const BenchOptions& options, const BenchCase& bench, int rank, int set);

}  // namespace braid::app
