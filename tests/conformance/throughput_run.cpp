#include "conformance/throughput_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "codec/row.hpp"

namespace braid::conformance {
namespace {

constexpr std::int32_t kUnwritten = -7;  // no local expert, and not -1

template <class T>
std::size_t count_of(std::int64_t rows, T width) {
  return static_cast<std::size_t>(rows * width);
}

}  // namespace

ThroughputRun::ThroughputRun(Group& group, const HighThroughputOptions& options)
    : group_(group), memory_(group), stream_(group.make_stream()), buffer_(group, options) {}

const RankInput& ThroughputRun::mine(const Routed& r) const {
  return r.inputs[static_cast<std::size_t>(group_.rank())];
}

void ThroughputRun::lay_out(const ThroughputCase& c, const InputSpec& spec, Routed& r) {
  r.inputs.clear();
  for (int rank = 0; rank < spec.topology.num_ranks; ++rank) {
    r.inputs.push_back(input_of(spec, rank));
  }
  r.rows = received_rows(r.inputs, group_.rank());
  const RankInput& own = mine(r);
  r.idx32.reset(memory_, own.topk_idx);
  r.idx64.reset(memory_, {own.topk_idx.begin(), own.topk_idx.end()});
  const Tensor idx = c.int64_idx ? Tensor(r.idx64.data(), DType::kInt64, {own.num_tokens, kTopK})
                                 : Tensor(r.idx32.data(), DType::kInt32, {own.num_tokens, kTopK});
  LayoutOptions options;
  options.expert_alignment = c.expert_alignment;
  options.workers = c.workers;
  r.handle = buffer_.layout(idx, options, stream_);
  r.num_rows = std::int64_t{spec.topology.num_ranks} * kThroughputTokens;
}

std::string ThroughputRun::check_received(const ThroughputCase& c, Routed& r) {
  const ReceivedCounts received = buffer_.received(r.handle);
  // In exact mode outputs are as long as the rows, for some cases with a tail.
  r.num_rows = received.num_rows + (c.workers == 2 ? 3 : 0);
  if (received.num_rows != static_cast<std::int64_t>(r.rows.size())) {
    return fmt::format("{} rows are received, not {}", received.num_rows, r.rows.size());
  }
  for (std::size_t source = 0; source < r.inputs.size(); ++source) {
    const auto rows = std::count_if(r.rows.begin(), r.rows.end(), [&](const ExpectedRow& row) {
      return row.source == static_cast<int>(source);
    });
    if (received.rows_per_source[source] != rows) {
      return fmt::format("{} rows are of rank {}, not {}", received.rows_per_source[source], source,
                         rows);
    }
  }
  if (received.rows_per_expert != rows_per_expert(r.inputs, group_.rank(), c.expert_alignment)) {
    return "rows_per_expert is wrong";
  }
  return "";
}

void ThroughputRun::change_tokens(Routed& r, std::uint64_t seed) const {
  for (std::size_t rank = 0; rank < r.inputs.size(); ++rank) {
    RankInput& input = r.inputs[rank];
    const RankInput other = input_of({group_.topology(), Routing::kFull, seed, kThroughputTokens},
                                     static_cast<int>(rank));
    std::copy_n(other.x.begin(), input.x.size(), input.x.begin());
    std::copy_n(other.weights.begin(), input.weights.size(), input.weights.begin());
  }
}

DispatchRows ThroughputRun::dispatch_input(const ThroughputCase& c, Routed& r) {
  const RankInput& own = mine(r);
  const std::int64_t n = own.num_tokens;
  DispatchRows input;
  if (c.rows == RowsAre::kGivenQuantized) {
    std::vector<std::byte> codes, scales;
    for (int token = 0; token < n; ++token) {
      const EncodedRow row = encoded(DispatchFormat::kFp8, own, token);
      codes.insert(codes.end(), row.data.begin(), row.data.end());
      scales.insert(scales.end(), row.scales.begin(), row.scales.end());
    }
    r.own_x.reset(memory_, codes);
    r.own_scales.reset(memory_, scales);
    input.x = {r.own_x.data(), DType::kFloat8E4M3, {n, kHidden}};
    input.scales = {r.own_scales.data(), DType::kFloat32, {n, kHidden / kScaleGroup}};
  } else {
    std::vector<std::byte> bytes(own.x.size() * 2);
    if (!bytes.empty()) std::memcpy(bytes.data(), own.x.data(), bytes.size());
    r.own_x.reset(memory_, bytes);
    input.x = {r.own_x.data(), DType::kBFloat16, {n, kHidden}};
  }
  r.weights.reset(memory_, own.weights);
  if (c.has_weights) input.topk_weights = {r.weights.data(), DType::kFloat32, {n, kTopK}};
  return input;
}

void ThroughputRun::dispatch(const ThroughputCase& c, Routed& r) {
  const std::int64_t groups = kHidden / kScaleGroup;
  const DType dtype = c.format() == DispatchFormat::kBf16 ? DType::kBFloat16 : DType::kFloat8E4M3;
  const std::int64_t data_bytes = codec::dispatch_data_bytes(c.format(), kHidden);
  const std::int64_t scale_bytes = codec::dispatch_scale_bytes(c.format(), kHidden);
  const DispatchRows input = dispatch_input(c, r);
  r.x.reset(memory_, std::vector(count_of(r.num_rows, data_bytes), kPoison));
  r.scales.reset(memory_, std::vector(count_of(r.num_rows, scale_bytes), kPoison));
  r.out_idx32.reset(memory_, std::vector(count_of(r.num_rows, kTopK), kUnwritten));
  r.out_idx64.reset(memory_, std::vector<std::int64_t>(count_of(r.num_rows, kTopK), kUnwritten));
  r.out_weights.reset(memory_, std::vector(count_of(r.num_rows, kTopK), -1.0F));
  DispatchedRows output;
  if (!c.is_in_place()) output.x = {r.x.data(), dtype, {r.num_rows, kHidden}};
  if (!c.is_in_place() && scale_bytes > 0) {
    output.scales = {r.scales.data(), DType::kFloat32, {r.num_rows, groups}};
  }
  if (c.has_idx) {
    output.topk_idx = c.int64_idx ? Tensor(r.out_idx64.data(), DType::kInt64, {r.num_rows, kTopK})
                                  : Tensor(r.out_idx32.data(), DType::kInt32, {r.num_rows, kTopK});
  }
  if (c.has_weights) {
    output.topk_weights = {r.out_weights.data(), DType::kFloat32, {r.num_rows, kTopK}};
  }
  DispatchRowsOptions options;
  options.format = c.format();
  options.workers = c.workers;
  if (!c.is_in_place()) {
    buffer_.dispatch(r.handle, input, output, options, stream_);
    stream_.synchronize();
    r.x.download();
    r.scales.download();
  } else {
    const DispatchedRows there =
        buffer_.dispatch_in_place(r.handle, input, output, options, stream_);
    stream_.synchronize();
    const std::size_t rows = r.rows.size();
    memory_.device().copy_out(r.x.host.data(), there.x.data,
                              rows * static_cast<std::size_t>(data_bytes));
    if (scale_bytes > 0) {
      memory_.device().copy_out(r.scales.host.data(), there.scales.data,
                                rows * static_cast<std::size_t>(scale_bytes));
    }
  }
  r.out_idx32.download();
  r.out_idx64.download();
  r.out_weights.download();
}

EncodedRow ThroughputRun::arrived(const ThroughputCase& c, const Routed& r,
                                  std::int64_t row) const {
  const auto part = [row](const std::vector<std::byte>& bytes, std::int64_t size) {
    const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(row * size);
    return std::vector<std::byte>(begin, begin + static_cast<std::ptrdiff_t>(size));
  };
  return {part(r.x.host, codec::dispatch_data_bytes(c.format(), kHidden)),
          part(r.scales.host, codec::dispatch_scale_bytes(c.format(), kHidden))};
}

std::int32_t ThroughputRun::idx_at(const ThroughputCase& c, const Routed& r,
                                   std::int64_t at) const {
  const auto index = static_cast<std::size_t>(at);
  return c.int64_idx ? static_cast<std::int32_t>(r.out_idx64.host[index]) : r.out_idx32.host[index];
}

std::string ThroughputRun::check_row(const ThroughputCase& c, const Routed& r,
                                     std::int64_t row) const {
  const ExpectedRow from = r.rows[static_cast<std::size_t>(row)];
  const RankInput& input = r.inputs[static_cast<std::size_t>(from.source)];
  const EncodedRow expected = encoded(c.format(), input, from.token);
  const EncodedRow seen = arrived(c, r, row);
  if (seen != expected) {
    return fmt::format("row {} is not token {} of rank {}", row, from.token, from.source);
  }
  const auto locals = local_choices(input, from.token, group_.rank());
  for (int choice = 0; choice < kTopK; ++choice) {
    const std::int32_t local = locals[static_cast<std::size_t>(choice)];
    const std::int64_t at = row * kTopK + choice;
    if (c.has_idx && idx_at(c, r, at) != local) {
      return fmt::format("row {}: choice {} is {}, not {}", row, choice, idx_at(c, r, at), local);
    }
    const float given = input.weights[static_cast<std::size_t>(from.token * kTopK + choice)];
    const float weight = local >= 0 ? given : 0.0F;
    if (c.has_weights && r.out_weights.host[static_cast<std::size_t>(at)] != weight) {
      return fmt::format("row {}: the weight of choice {} is {}, not {}", row, choice,
                         r.out_weights.host[static_cast<std::size_t>(at)], weight);
    }
  }
  return "";
}

std::string ThroughputRun::check_tail(const ThroughputCase& c, const Routed& r,
                                      std::int64_t row) const {
  const EncodedRow seen = arrived(c, r, row);
  if (!is_poison(seen.data.data(), seen.data.size()) ||
      !is_poison(seen.scales.data(), seen.scales.size())) {
    return fmt::format("row {} of the tail was written", row);
  }
  for (int choice = 0; choice < kTopK; ++choice) {
    const std::int64_t at = row * kTopK + choice;
    if (c.has_idx && idx_at(c, r, at) != -1) {
      return fmt::format("row {} of the tail: choice {} is {}", row, choice, idx_at(c, r, at));
    }
    if (c.has_weights && r.out_weights.host[static_cast<std::size_t>(at)] != 0.0F) {
      return fmt::format("row {} of the tail has a weight", row);
    }
  }
  return "";
}

std::string ThroughputRun::check_dispatched(const ThroughputCase& c, const Routed& r) const {
  const auto received = static_cast<std::int64_t>(r.rows.size());
  for (std::int64_t row = 0; row < r.num_rows; ++row) {
    std::string difference = row < received ? check_row(c, r, row) : check_tail(c, r, row);
    if (!difference.empty()) return difference;
  }
  return "";
}

void ThroughputRun::combine(const ThroughputCase& c, Routed& r, Combined& combined) {
  const RankInput& own = mine(r);
  const std::int64_t n = own.num_tokens;
  std::vector<std::uint16_t> rows(count_of(r.num_rows, kHidden), kNan);
  std::vector<float> weights(count_of(r.num_rows, kTopK), -1.0F);
  for (std::size_t row = 0; row < r.rows.size(); ++row) {
    const auto y =
        rank_output(c.format(), arrived(c, r, static_cast<std::int64_t>(row)), group_.rank());
    std::copy(y.begin(), y.end(), rows.begin() + static_cast<std::ptrdiff_t>(row * kHidden));
    for (int choice = 0; choice < kTopK; ++choice) {
      const std::size_t at = row * kTopK + static_cast<std::size_t>(choice);
      weights[at] = returned_weight(group_.rank(), r.out_weights.host[at], choice);
    }
  }
  Mirror<std::uint16_t> y(memory_, std::move(rows));
  Mirror<float> back(memory_, std::move(weights));
  Mirror<std::uint16_t> biases[2];
  combined.x.reset(memory_, std::vector(count_of(n, kHidden), kNan));
  combined.weights.reset(memory_, std::vector(count_of(n, kTopK), -1.0F));
  CombineRows input;
  input.x = {y.data(), DType::kBFloat16, {r.num_rows, kHidden}};
  CombinedRows output;
  output.x = {combined.x.data(), DType::kBFloat16, {n, kHidden}};
  if (c.has_weights) {
    input.topk_weights = {back.data(), DType::kFloat32, {r.num_rows, kTopK}};
    output.topk_weights = {combined.weights.data(), DType::kFloat32, {n, kTopK}};
  }
  CombineRowsOptions options;
  options.workers = c.workers;
  for (int bias = 0; bias < c.num_biases; ++bias) {
    const auto at = static_cast<std::size_t>(bias);
    biases[at].reset(memory_, bias_of(own, bias));
    options.biases[at] = {biases[at].data(), DType::kBFloat16, {n, kHidden}};
  }
  buffer_.combine(r.handle, input, output, options, stream_);
  stream_.synchronize();
  combined.x.download();
  combined.weights.download();
}

std::string ThroughputRun::combine_and_check(const ThroughputCase& c, Routed& r) {
  Combined combined;
  combine(c, r, combined);
  if (combined.x.host != combined_rows(c.format(), mine(r), c.num_biases)) {
    return "the combined rows are wrong";
  }
  if (c.has_weights && combined.weights.host != combined_weights(mine(r))) {
    return "the combined weights are wrong";
  }
  return "";
}

std::string ThroughputRun::run(const ThroughputCase& c, Routing routing, std::uint64_t seed) {
  return run(c, {group_.topology(), routing, seed, kThroughputTokens});
}

std::string ThroughputRun::run_full(const ThroughputCase& c, int num_tokens, std::uint64_t seed) {
  return run(c, {group_.topology(), Routing::kFull, seed, num_tokens});
}

std::string ThroughputRun::run(const ThroughputCase& c, const InputSpec& spec) {
  Routed r;
  lay_out(c, spec, r);
  if (c.is_exact()) {
    if (std::string difference = check_received(c, r); !difference.empty()) return difference;
  }
  for (int turn = 0; turn < 2; ++turn) {
    if (turn > 0) change_tokens(r, spec.seed + 1000);
    const char* const when = turn > 0 ? "again on the handle: " : "";
    dispatch(c, r);
    std::string difference = check_dispatched(c, r);
    if (difference.empty()) difference = combine_and_check(c, r);
    if (!difference.empty()) return when + difference;
  }
  return "";
}

std::string ThroughputRun::run_two_handles(const ThroughputCase& c, std::uint64_t seed) {
  Routed routed[2];
  lay_out(c, {group_.topology(), Routing::kRandom, seed, kThroughputTokens}, routed[0]);
  lay_out(c, {group_.topology(), Routing::kRepeated, seed + 1, kThroughputTokens}, routed[1]);
  for (std::uint64_t turn = 0; turn < 3; ++turn) {
    for (Routed& r : routed) dispatch(c, r);
    for (Routed* r : {&routed[1], &routed[0]}) {
      std::string difference = check_dispatched(c, *r);
      if (difference.empty()) difference = combine_and_check(c, *r);
      if (!difference.empty()) return difference;
      change_tokens(*r, seed + 2 + turn);
    }
  }
  return "";
}

std::vector<std::byte> ThroughputRun::outputs_of(const ThroughputCase& c, Routing routing,
                                                 std::uint64_t seed) {
  Routed r;
  lay_out(c, {group_.topology(), routing, seed, kThroughputTokens}, r);
  dispatch(c, r);
  Combined combined;
  combine(c, r, combined);
  std::vector<std::byte> all;
  const auto add = [&all](const auto& values) {
    const auto* bytes = reinterpret_cast<const std::byte*>(values.data());
    all.insert(all.end(), bytes, bytes + values.size() * sizeof(values[0]));
  };
  add(r.x.host);
  add(r.scales.host);
  add(r.out_idx32.host);
  add(r.out_idx64.host);
  add(r.out_weights.host);
  add(combined.x.host);
  add(combined.weights.host);
  return all;
}

}  // namespace braid::conformance
