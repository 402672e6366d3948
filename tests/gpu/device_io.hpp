// The small case of the conformance tests on a GPU.
#pragma once

#include <stdexcept>
#include <string>

#include "conformance/memory.hpp"
#include "conformance/small_case.hpp"

namespace braid::conformance {

// The small case with its tensors on the device.
class DeviceIo {
 public:
  DeviceIo(RankMemory& memory, const Topology& topology)
      : io(topology),
        x_(memory, io.x),
        idx_(memory, io.idx),
        weights_(memory, io.weights),
        recv_(memory, io.recv),
        counts_(memory, io.counts),
        out_(memory, io.out) {
    io.input.x.data = x_.data();
    io.input.topk_idx.data = idx_.data();
    io.output.x.data = recv_.data();
    io.output.counts.data = counts_.data();
    io.combine_input.x.data = recv_.data();
    io.combine_input.topk_weights.data = weights_.data();
    io.combine_output.x.data = out_.data();
  }

  // A power of two, so that three quarters of it is exact.
  void set_x(int exponent) {
    value_ = static_cast<std::uint16_t>((127 + exponent) << 7);
    x_.host.assign(x_.host.size(), value_);
    out_.host.assign(out_.host.size(), 0x7FC0);
    x_.upload();
    out_.upload();
  }
  // Of the one token.
  void set_choice(int choice, int expert) {
    idx_.host[static_cast<std::size_t>(choice)] = expert;
    idx_.upload();
  }
  // "" where (0.5 + 0.25) * x came home.
  std::string check() {
    out_.download();
    const int expected = value_ - 0x80 + 0x40;  // half of it and half of that: 1.5 * x / 2
    for (const std::uint16_t seen : out_.host) {
      if (seen != expected)
        return "home came " + std::to_string(seen) + ", not " + std::to_string(expected);
    }
    return "";
  }

  Io io;

 private:
  std::uint16_t value_ = 0x3F80;
  Mirror<std::uint16_t> x_;
  Mirror<std::int32_t> idx_;
  Mirror<float> weights_;
  Mirror<std::uint16_t> recv_;
  Mirror<std::int32_t> counts_;
  Mirror<std::uint16_t> out_;
};

// Keeps the dispatch's handle for as long as the caller needs it.
inline Handle enqueue_pair(Buffer& buffer, DeviceIo& device_io, Stream& stream) {
  Io& io = device_io.io;
  Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
  buffer.combine(handle, io.combine_input, io.combine_output, io.combine_options, stream);
  return handle;
}

inline void require_home(DeviceIo& io, const std::string& what) {
  const std::string difference = io.check();
  if (!difference.empty()) throw std::runtime_error(what + ": " + difference);
}

}  // namespace braid::conformance
