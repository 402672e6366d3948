#include "schedule/builder.hpp"

namespace braid {

Schedule single_batch_overlap(const SingleBatchOptions& options) {
  using Kind = OperationKind;
  constexpr int kComm = 1;
  const int device = options.parts.device_sms;
  require(options.block_rows >= 1, "block_rows is {}, but must be at least 1", options.block_rows);
  require(options.comm_sms >= 1 && options.comm_sms < device,
          "comm_sms is {}, but must be from 1 to {}, one less than the device has",
          options.comm_sms, device - 1);
  schedule::Builder builder("sbo", options.parts, {{"current"}, {"comm"}});
  builder.block_rows(options.block_rows);
  builder.add_front(options.parts);
  builder.add(Kind::kDispatchSend);
  // Beside the tokens on their way: the receive is the hook, called later.
  if (options.parts.shared_expert) builder.add(Kind::kSharedExpert);
  builder.add(Kind::kDispatchReceive);
  builder.add(Kind::kUpGemm);
  const int activated = builder.add(Kind::kActivation);
  const int down = builder.add({.kind = Kind::kDownGemm, .sms = device - options.comm_sms});
  const int sent =
      builder.add({.kind = Kind::kCombineSend, .lane = kComm, .sms = options.comm_sms});
  // It starts with the GEMM, not before: it would spin beside the work that the GEMM waits for.
  builder.after(activated, sent);
  builder.tiles(down, sent);
  const int received = builder.add({.kind = Kind::kCombineReceive, .lane = kComm, .sms = device});
  builder.after(down, received);
  return builder.finish();
}

}  // namespace braid
