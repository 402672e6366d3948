#include "schedule/builder.hpp"

namespace braid {

Schedule sequential(const LayerParts& parts) {
  schedule::Builder builder("sequential", parts, {{"current"}});
  builder.add_front(parts);
  if (parts.shared_expert) builder.add(OperationKind::kSharedExpert);
  for (const OperationKind kind :
       {OperationKind::kDispatchSend, OperationKind::kDispatchReceive, OperationKind::kUpGemm,
        OperationKind::kActivation, OperationKind::kDownGemm, OperationKind::kCombineSend,
        OperationKind::kCombineReceive}) {
    builder.add(kind);
  }
  return builder.finish();
}

}  // namespace braid
