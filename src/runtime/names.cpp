#include <cstring>

#include "base/check.hpp"
#include "braid/buffer.hpp"
#include "braid/device.hpp"

namespace braid {

const char* to_string(Backend backend) noexcept {
  switch (backend) {
    case Backend::kCpu: return "cpu";
    case Backend::kCuda: return "cuda";
  }
  return "unknown";
}

Backend parse_backend(const char* text) {
  for (const Backend backend : {Backend::kCpu, Backend::kCuda}) {
    if (std::strcmp(text, to_string(backend)) == 0) return backend;
  }
  fail(ErrorCode::kInvalidArgument, "backend is '{}', but must be cpu or cuda", text);
}

const char* to_string(FanOut fan_out) noexcept {
  switch (fan_out) {
    case FanOut::kAuto: return "auto";
    case FanOut::kPerExpert: return "per_expert";
    case FanOut::kPerRank: return "per_rank";
  }
  return "unknown";
}

const char* to_string(Reduce reduce) noexcept {
  switch (reduce) {
    case Reduce::kTokenRank: return "token_rank";
    case Reduce::kExpertRank: return "expert_rank";
  }
  return "unknown";
}

FanOut parse_fan_out(const char* text) {
  for (const FanOut fan_out : {FanOut::kAuto, FanOut::kPerExpert, FanOut::kPerRank}) {
    if (std::strcmp(text, to_string(fan_out)) == 0) return fan_out;
  }
  fail(ErrorCode::kInvalidArgument, "fan-out is '{}', but must be auto, per_expert or per_rank",
       text);
}

Reduce parse_reduce(const char* text) {
  for (const Reduce reduce : {Reduce::kTokenRank, Reduce::kExpertRank}) {
    if (std::strcmp(text, to_string(reduce)) == 0) return reduce;
  }
  fail(ErrorCode::kInvalidArgument, "reduce is '{}', but must be token_rank or expert_rank", text);
}

}  // namespace braid
