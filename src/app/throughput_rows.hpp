// The rows that one rank on the CPU receives in high throughput, in either order, and what their
// experts make of them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "app/options.hpp"
#include "braid/high_throughput.hpp"
#include "expert/expert.hpp"

namespace braid::app {

struct ThroughputCall {
  HighThroughputBuffer& buffer;
  const ThroughputHandle& handle;
  Stream& stream;
};

class ThroughputRows {
 public:
  virtual ~ThroughputRows() = default;

  // For what a layout brings. Memory that is of the right size already stays as it is.
  virtual void make_room(const ReceivedCounts& counts) = 0;
  virtual void dispatch(const ThroughputCall& call, const DispatchRows& input) = 0;
  // What goes home: of experts that are identities (the rows as BF16), or of a layer's.
  virtual void run_identities() = 0;
  virtual void run(const ExpertFfn& experts) = 0;
  virtual void combine(const ThroughputCall& call, const Tensor& output) = 0;

  // Rows that name each local expert.
  virtual std::vector<std::int64_t> tokens_per_expert() const = 0;
  // As sent_rows() (sent_rows.hpp) has it.
  virtual std::string received() const = 0;
};

// In the options' order.
std::unique_ptr<ThroughputRows> make_throughput_rows(const CommunicationOptions& options,
                                                     const LayerShape& shape);

}  // namespace braid::app
