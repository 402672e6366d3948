#include "braid/error.hpp"

#include "braid/tensor.hpp"

namespace braid {

const char* to_string(ErrorCode code) noexcept {
  switch (code) {
    case ErrorCode::kInvalidArgument: return "invalid_argument";
    case ErrorCode::kRefused: return "refused";
    case ErrorCode::kTimeout: return "timeout";
    case ErrorCode::kPeerFailed: return "peer_failed";
    case ErrorCode::kMissing: return "missing";
    case ErrorCode::kFormat: return "format";
    case ErrorCode::kInternal: return "internal";
  }
  return "unknown";
}

const char* to_string(DType dtype) noexcept {
  switch (dtype) {
    case DType::kBFloat16: return "bf16";
    case DType::kFloat32: return "f32";
    case DType::kFloat8E4M3: return "f8_e4m3";
    case DType::kInt32: return "i32";
    case DType::kInt64: return "i64";
    case DType::kUint8: return "u8";
  }
  return "unknown";
}

}  // namespace braid
