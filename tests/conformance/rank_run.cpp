#include "conformance/rank_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "codec/bfloat16.hpp"
#include "codec/row.hpp"

namespace braid::conformance {
namespace {

Tensor tensor_of(void* data, DType dtype, std::initializer_list<std::int64_t> shape) {
  return {data, dtype, shape};
}

}  // namespace

RankRun::RankRun(Group& group, const BufferOptions& options)
    : group_(group),
      memory_(group),
      stream_(group.make_stream()),
      other_stream_(group.make_stream()),
      buffer_(group, options) {}

const RankInput& RankRun::mine(const Dispatched& d) const {
  return d.inputs[static_cast<std::size_t>(group_.rank())];
}

void RankRun::begin(const Case& c, Routing routing, std::uint64_t seed, Dispatched& d) {
  const Topology& topology = group_.topology();
  for (int rank = 0; rank < topology.num_ranks; ++rank) {
    d.inputs.push_back(input_of(topology, routing, rank, seed));
  }
  const RankInput& own = mine(d);
  const std::int64_t capacity = std::int64_t{topology.num_ranks} * kMaxTokens;
  const std::int64_t rows = kLocalExperts * capacity;
  const std::int64_t data_bytes = codec::dispatch_data_bytes(c.dispatch, kHidden);
  const std::int64_t scale_bytes = codec::dispatch_scale_bytes(c.dispatch, kHidden);
  d.own_x.reset(memory_, own.x);
  d.idx32.reset(memory_, own.topk_idx);
  d.idx64.reset(memory_, {own.topk_idx.begin(), own.topk_idx.end()});
  d.weights.reset(memory_, own.weights);
  d.x.reset(memory_, std::vector(static_cast<std::size_t>(rows * data_bytes), kPoison));
  d.scales.reset(memory_, std::vector(static_cast<std::size_t>(rows * scale_bytes), kPoison));
  d.counts.reset(memory_, std::vector<std::int32_t>(kLocalExperts, -1));
  d.received_total.reset(memory_, std::vector<std::int64_t>(kLocalExperts, 1000));
  d.waited_ns.reset(memory_,
                    std::vector<std::int64_t>(static_cast<std::size_t>(topology.num_ranks), 0));

  DispatchInput input;
  input.x = tensor_of(d.own_x.data(), DType::kBFloat16, {own.num_tokens, kHidden});
  input.topk_idx = c.int64_idx ? tensor_of(d.idx64.data(), DType::kInt64, {own.num_tokens, kTopK})
                               : tensor_of(d.idx32.data(), DType::kInt32, {own.num_tokens, kTopK});
  if (c.reduce == Reduce::kExpertRank) {
    input.topk_weights = tensor_of(d.weights.data(), DType::kFloat32, {own.num_tokens, kTopK});
  }
  DispatchOutput output;
  const bool is_bf16 = c.dispatch == DispatchFormat::kBf16;
  output.x = tensor_of(d.x.data(), is_bf16 ? DType::kBFloat16 : DType::kFloat8E4M3,
                       {kLocalExperts, capacity, kHidden});
  if (!is_bf16) {
    const DType word = c.dispatch == DispatchFormat::kFp8Ue8m0 ? DType::kInt32 : DType::kFloat32;
    output.scales =
        c.scales == ScaleLayout::kColumnMajor
            ? tensor_of(d.scales.data(), word, {kLocalExperts, scale_bytes / 4, capacity})
            : tensor_of(d.scales.data(), word, {kLocalExperts, capacity, scale_bytes / 4});
  }
  output.counts = tensor_of(d.counts.data(), DType::kInt32, {kLocalExperts});
  output.received_total = tensor_of(d.received_total.data(), DType::kInt64, {kLocalExperts});
  output.waited_ns = tensor_of(d.waited_ns.data(), DType::kInt64, {topology.num_ranks});
  DispatchOptions options;
  options.format = c.dispatch;
  options.fan_out = c.fan_out;
  options.scale_layout = c.scales;
  options.num_rounds = c.dispatch_rounds;
  options.send_workers = c.workers;
  options.receive_workers = c.workers;
  d.handle = buffer_.dispatch_begin(input, output, options);
}

void RankRun::fetch(Dispatched& d) const {
  d.x.download();
  d.scales.download();
  d.counts.download();
  d.received_total.download();
}

std::vector<std::byte> RankRun::scales_of(const Case& c, const Dispatched& d, int local,
                                          std::int64_t row) const {
  const std::int64_t capacity = std::int64_t{group_.topology().num_ranks} * kMaxTokens;
  const std::int64_t words = codec::dispatch_scale_bytes(c.dispatch, kHidden) / 4;
  std::vector<std::byte> scales(static_cast<std::size_t>(4 * words));
  for (std::int64_t word = 0; word < words; ++word) {
    const std::int64_t in_expert =
        c.scales == ScaleLayout::kColumnMajor ? word * capacity + row : row * words + word;
    std::memcpy(scales.data() + 4 * word,
                d.scales.host.data() + 4 * (local * capacity * words + in_expert), 4);
  }
  return scales;
}

std::string RankRun::check_dispatch(const Case& c, Dispatched& d) const {
  fetch(d);
  const std::int64_t capacity = std::int64_t{group_.topology().num_ranks} * kMaxTokens;
  const auto data_bytes = static_cast<std::size_t>(codec::dispatch_data_bytes(c.dispatch, kHidden));
  for (int local = 0; local < kLocalExperts; ++local) {
    const auto at = static_cast<std::size_t>(local);
    const auto rows = rows_of(d.inputs, group_.rank() * kLocalExperts + local);
    if (d.counts.host[at] != static_cast<int>(rows.size())) {
      return fmt::format("expert {} has {} rows, not {}", local, d.counts.host[at], rows.size());
    }
    if (d.received_total.host[at] != 1000 + static_cast<int>(rows.size())) {
      return fmt::format("expert {}: received_total is {}", local, d.received_total.host[at]);
    }
    for (std::int64_t row = 0; row < capacity; ++row) {
      const auto idx = static_cast<std::size_t>(local * capacity + row);
      const std::byte* data = d.x.host.data() + idx * data_bytes;
      const std::vector<std::byte> scales = scales_of(c, d, local, row);
      if (row >= static_cast<std::int64_t>(rows.size())) {
        if (!is_poison(data, data_bytes) || !is_poison(scales.data(), scales.size())) {
          return fmt::format("expert {}: row {} past the count was written", local, row);
        }
        continue;
      }
      const ExpectedRow& from = rows[static_cast<std::size_t>(row)];
      const EncodedRow expected =
          encoded(c.dispatch, d.inputs[static_cast<std::size_t>(from.source)], from.token);
      if (std::memcmp(data, expected.data.data(), data_bytes) != 0 || scales != expected.scales) {
        return fmt::format("expert {}: row {} is not token {} of rank {}", local, row, from.token,
                           from.source);
      }
    }
  }
  return "";
}

Tensor RankRun::experts_rows(const Case& c, Mirror<std::uint16_t>& y) const {
  if (c.zero_copy) return {};
  const std::int64_t capacity = std::int64_t{group_.topology().num_ranks} * kMaxTokens;
  return tensor_of(y.data(), DType::kBFloat16, {kLocalExperts, capacity, kHidden});
}

void RankRun::experts(const Case& c, const Dispatched& d, Range range,
                      Mirror<std::uint16_t>& y) const {
  const std::int64_t capacity = std::int64_t{group_.topology().num_ranks} * kMaxTokens;
  const auto data_bytes = static_cast<std::size_t>(codec::dispatch_data_bytes(c.dispatch, kHidden));
  for (auto local = static_cast<int>(range.begin); local < range.end; ++local) {
    for (std::int64_t row = 0; row < d.counts.host[static_cast<std::size_t>(local)]; ++row) {
      const auto idx = static_cast<std::size_t>(local * capacity + row);
      EncodedRow arrived;
      arrived.data.assign(d.x.host.begin() + static_cast<std::ptrdiff_t>(idx * data_bytes),
                          d.x.host.begin() + static_cast<std::ptrdiff_t>((idx + 1) * data_bytes));
      arrived.scales = scales_of(c, d, local, row);
      const auto output = expert_output(c.dispatch, arrived, group_.rank() * kLocalExperts + local);
      std::copy(output.begin(), output.end(),
                y.host.begin() + static_cast<std::ptrdiff_t>(idx * kHidden));
    }
  }
  // Only these: others may be on their way home.
  const auto row_values = static_cast<std::size_t>(capacity * kHidden);
  y.upload(static_cast<std::size_t>(range.begin) * row_values,
           static_cast<std::size_t>(range.end - range.begin) * row_values);
}

void RankRun::reset_rows(const Case& c, const Dispatched& d, Mirror<std::uint16_t>& y) {
  const std::int64_t capacity = std::int64_t{group_.topology().num_ranks} * kMaxTokens;
  std::vector<std::uint16_t> none(static_cast<std::size_t>(kLocalExperts * capacity * kHidden),
                                  kNan);
  if (c.zero_copy) {
    y.borrow(memory_, buffer_.combine_region(d.handle).as<std::uint16_t>(), std::move(none));
  } else {
    y.reset(memory_, std::move(none));
  }
}

CombineOptions RankRun::combine_options(const Case& c) const {
  CombineOptions options;
  options.format = c.combine;
  options.reduce = c.reduce;
  options.num_rounds = c.combine_rounds;
  options.rows_of_one_round = c.rows_of_one_round;
  options.block_rows = 5;
  options.send_workers = c.workers;
  options.receive_workers = c.workers;
  return options;
}

std::string RankRun::combine_and_check(const Case& c, Dispatched& d) {
  const RankInput& own = mine(d);
  const std::int64_t capacity = std::int64_t{group_.topology().num_ranks} * kMaxTokens;
  Mirror<std::uint16_t> y;
  reset_rows(c, d, y);
  experts(c, d, {0, kLocalExperts}, y);
  Mirror<std::uint16_t> out(memory_, std::vector<std::uint16_t>(
                                         static_cast<std::size_t>(own.num_tokens * kHidden), kNan));
  CombineInput input;
  if (!c.rows_of_one_round) input.x = experts_rows(c, y);
  if (c.reduce == Reduce::kTokenRank) {
    input.topk_weights = tensor_of(d.weights.data(), DType::kFloat32, {own.num_tokens, kTopK});
  }
  CombineOutput output;
  output.x = tensor_of(out.data(), DType::kBFloat16, {own.num_tokens, kHidden});
  buffer_.combine_begin(d.handle, input, output, combine_options(c));
  const std::int64_t per_round = kLocalExperts / c.combine_rounds;
  for (int round = 0; round < c.combine_rounds; ++round) {
    // Rounds alternate between streams: their order is the buffer's to keep.
    Stream& stream = round % 2 == 0 ? stream_ : other_stream_;
    if (c.rows_of_one_round) {
      const Tensor rows = tensor_of(y.data() + round * per_round * capacity * kHidden,
                                    DType::kBFloat16, {per_round, capacity, kHidden});
      buffer_.combine_send(d.handle, round, rows, stream);
    } else {
      buffer_.combine_send(d.handle, round, stream);
    }
  }
  buffer_.combine_receive(d.handle, stream_);
  other_stream_.synchronize();
  stream_.synchronize();
  return check_combined(c, d, out);
}

std::string RankRun::check_combined(const Case& c, const Dispatched& d,
                                    Mirror<std::uint16_t>& out) const {
  out.download();
  const RankInput& own = mine(d);
  const auto expected = combined(c, group_.topology(), own);
  const bool equal = out.host == expected;
  for (std::size_t i = 0; !equal && i < expected.size(); ++i) {
    if (out.host[i] != expected[i]) {
      return fmt::format("combined token {}, channel {} is {}, not {}", i / kHidden, i % kHidden,
                         codec::bf16_to_float(out.host[i]), codec::bf16_to_float(expected[i]));
    }
  }
  // FP8 rounds each value to 3 mantissa bits: 9e-4 is the format's own error with identity experts.
  double limit = c.dispatch == DispatchFormat::kBf16 ? 1e-5 : 9e-4;
  if (c.combine == CombineFormat::kLogFmt10) limit += 2e-4;
  const double diff = diff_of(combined_on_one_device(own), out.host);
  if (!(diff <= limit)) return fmt::format("combined differs from one device's by {}", diff);
  return "";
}

std::string RankRun::run(const Case& c, Routing routing, std::uint64_t seed) {
  Dispatched d;
  begin(c, routing, seed, d);
  for (int round = 0; round < c.dispatch_rounds; ++round) {
    buffer_.dispatch_send(d.handle, round, round % 2 == 0 ? stream_ : other_stream_);
  }
  for (int round = 0; round < c.dispatch_rounds; ++round) {
    buffer_.dispatch_receive(d.handle, round, stream_);
  }
  stream_.synchronize();
  other_stream_.synchronize();
  if (std::string difference = check_dispatch(c, d); !difference.empty()) return difference;
  return combine_and_check(c, d);
}

std::string RankRun::run_round_by_round(const Case& c, Routing routing, std::uint64_t seed) {
  Dispatched d;
  begin(c, routing, seed, d);
  const RankInput& own = mine(d);
  const std::int64_t per_round = kLocalExperts / c.combine_rounds;
  Mirror<std::uint16_t> y;
  reset_rows(c, d, y);
  Mirror<std::uint16_t> out(memory_, std::vector<std::uint16_t>(
                                         static_cast<std::size_t>(own.num_tokens * kHidden), kNan));
  CombineInput input;
  input.x = experts_rows(c, y);
  input.topk_weights = tensor_of(d.weights.data(), DType::kFloat32, {own.num_tokens, kTopK});
  CombineOutput output;
  output.x = tensor_of(out.data(), DType::kBFloat16, {own.num_tokens, kHidden});
  for (int round = 0; round < c.dispatch_rounds; ++round) {
    buffer_.dispatch_send(d.handle, round, stream_);
  }
  CombineOptions options = combine_options(c);
  options.rows_of_one_round = false;
  buffer_.combine_begin(d.handle, input, output, options);
  for (int round = 0; round < c.dispatch_rounds; ++round) {
    buffer_.dispatch_receive(d.handle, round, stream_);
    stream_.synchronize();
    fetch(d);
    experts(c, d, {round * per_round, (round + 1) * per_round}, y);
    buffer_.combine_send(d.handle, round, other_stream_);
  }
  buffer_.combine_receive(d.handle, other_stream_);
  other_stream_.synchronize();
  if (std::string difference = check_dispatch(c, d); !difference.empty()) return difference;
  return check_combined(c, d, out);
}

std::string RankRun::run_two_in_flight(const Case& c, std::uint64_t seed) {
  Dispatched first, second;
  begin(c, Routing::kRandom, seed, first);
  begin(c, Routing::kFull, seed + 1, second);
  for (int round = 0; round < c.dispatch_rounds; ++round) {
    buffer_.dispatch_send(first.handle, round, stream_);
  }
  for (int round = 0; round < c.dispatch_rounds; ++round) {
    buffer_.dispatch_send(second.handle, round, stream_);
  }
  // The younger one first: receives come in any order.
  for (Dispatched* d : {&second, &first}) {
    for (int round = 0; round < c.dispatch_rounds; ++round) {
      buffer_.dispatch_hook(d->handle, round)(stream_);
    }
  }
  stream_.synchronize();
  for (Dispatched* d : {&first, &second}) {
    if (std::string difference = check_dispatch(c, *d); !difference.empty()) return difference;
  }
  for (Dispatched* d : {&first, &second}) {
    if (std::string difference = combine_and_check(c, *d); !difference.empty()) return difference;
  }
  return "";
}

double diff_of(const std::vector<double>& expected, const std::vector<std::uint16_t>& seen) {
  double both = 0.0;
  double squares = 0.0;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const double value = codec::bf16_to_float(seen[i]);
    both += expected[i] * value;
    squares += expected[i] * expected[i] + value * value;
  }
  return squares == 0.0 ? 0.0 : 1.0 - 2.0 * both / squares;
}

}  // namespace braid::conformance
