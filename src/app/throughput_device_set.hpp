// What one dispatch and its combine of high throughput read and write, in the memory of a rank's
// device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/bench_case.hpp"
#include "app/throughput_rows.hpp"
#include "braid/high_throughput.hpp"
#include "machine/device_backend.hpp"

namespace braid::app {

// How long outputs are: as what was received, or as it may be, where the host does not know.
enum class Outputs { kExact, kWorstCase };

// FP8 rows are given as they are to arrive: the host quantizes the tokens once. There is memory for
// the worst case.
class ThroughputDeviceSet {
 public:
  virtual ~ThroughputDeviceSet() = default;
  ThroughputDeviceSet(const ThroughputDeviceSet&) = delete;
  ThroughputDeviceSet& operator=(const ThroughputDeviceSet&) = delete;

  ThroughputHandle lay_out(HighThroughputBuffer& buffer, Stream& stream) const;
  // What a layout of the set brings, which is the same each time.
  void set_counts(const ReceivedCounts& counts) { counts_ = counts; }

  virtual void dispatch(const ThroughputCall& call, Outputs outputs) const = 0;
  virtual void combine(const ThroughputCall& call, Outputs outputs) const = 0;
  // By source, whatever the set's order: rows where they arrive.
  DispatchedRows dispatch_in_place(const ThroughputCall& call) const;
  // The experts' outputs, identities', from what a dispatch left. Not needed for BF16.
  void decode_rows();

  virtual void poison_received();
  void poison_output();
  virtual std::string received() const = 0;  // as sent_rows() (sent_rows.hpp) has it
  // The same of rows by source that are where a dispatch in place left them.
  std::string received_in_place(const DispatchedRows& rows) const;
  std::string output() const;

 protected:
  ThroughputDeviceSet(std::shared_ptr<detail::DeviceBackend> device, const BenchOptions& options,
                      const BenchCase& bench, std::int64_t capacity);
  // Takes memory, before operations begin, and `more`'s with it: what only one order has.
  void allocate(const BenchInputs& inputs, const std::vector<Tensor*>& more);
  virtual std::int64_t num_rows() const = 0;  // that a dispatch gives, with padding

  DispatchRowsOptions dispatch_options() const;
  // The first rows of a tensor: num_rows(), or all.
  Tensor sized(const Tensor& tensor, Outputs outputs) const;
  const Tensor& combine_x() const { return received_scales_.empty() ? received_ : rows_; }

  std::shared_ptr<detail::DeviceBackend> device_;
  DispatchFormat format_;
  int alignment_;
  ReceivedCounts counts_;
  Tensor x_, scales_, topk_idx_, topk_weights_, received_, received_scales_, rows_, output_;

 private:
  std::shared_ptr<void> memory_;
};

// In the options' order.
std::unique_ptr<ThroughputDeviceSet> make_throughput_set(
    std::shared_ptr<detail::DeviceBackend> device, const BenchOptions& options,
    const BenchCase& bench, const BenchInputs& inputs);

}  // namespace braid::app
