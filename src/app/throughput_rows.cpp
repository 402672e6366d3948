#include "app/throughput_rows.hpp"

#include "app/expert_rows.hpp"
#include "app/source_rows.hpp"

namespace braid::app {

std::unique_ptr<ThroughputRows> make_throughput_rows(const CommunicationOptions& options,
                                                     const LayerShape& shape) {
  if (options.expanded()) return std::make_unique<ExpertRows>(options, shape);
  return std::make_unique<SourceRows>(options, shape);
}

}  // namespace braid::app
