#include "conformance/oracle.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "codec/bfloat16.hpp"
#include "codec/row.hpp"
#include "codec/rows.hpp"
#include "topology/experts.hpp"

namespace braid::conformance {
namespace {

const codec::RowKernels& kernels() { return *codec::available_row_kernels().front(); }

// A combine row after its trip.
std::vector<float> travelled(CombineFormat format, const std::vector<std::uint16_t>& row) {
  std::vector<std::byte> wire(
      static_cast<std::size_t>(codec::combine_row_max_bytes(format, kHidden)));
  kernels().encode_combine(format, row.data(), kHidden, wire.data());
  std::vector<float> values(kHidden, 0.0F);
  kernels().accumulate_combine(format, wire.data(), kHidden, 1.0F, values.data());
  return values;
}

void add(std::vector<float>& sum, float weight, const std::vector<float>& values) {
  for (std::size_t i = 0; i < sum.size(); ++i) sum[i] = std::fma(weight, values[i], sum[i]);
}

bool same(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size()) == 0);
}

std::vector<std::uint16_t> rounded(const std::vector<float>& sum) {
  std::vector<std::uint16_t> row(sum.size());
  kernels().store_bf16(sum.data(), kHidden, row.data());
  return row;
}

std::vector<float> widened(const std::vector<std::uint16_t>& row) {
  std::vector<float> values(row.size());
  std::transform(row.begin(), row.end(), values.begin(), codec::bf16_to_float);
  return values;
}

}  // namespace

bool is_poison(const std::byte* data, std::size_t bytes) {
  return bytes == 0 || (*data == kPoison && std::memcmp(data, data + 1, bytes - 1) == 0);
}

bool EncodedRow::operator==(const EncodedRow& other) const {
  return same(data, other.data) && same(scales, other.scales);
}

float factor_of(int expert, int channel) {
  return 0.5F + static_cast<float>((expert * 37 + channel) % 64) / 32.0F;
}

std::vector<ExpectedRow> rows_of(const std::vector<RankInput>& inputs, int expert) {
  std::vector<ExpectedRow> rows;
  for (std::size_t source = 0; source < inputs.size(); ++source) {
    const RankInput& input = inputs[source];
    for (int token = 0; token < input.num_tokens; ++token) {
      bool named = false;
      for (int choice = 0; choice < kTopK; ++choice) {
        named = named || input.topk_idx[static_cast<std::size_t>(token * kTopK + choice)] == expert;
      }
      if (named) rows.push_back({static_cast<int>(source), token});
    }
  }
  return rows;
}

EncodedRow encoded(DispatchFormat format, const RankInput& input, int token) {
  EncodedRow row;
  row.data.resize(static_cast<std::size_t>(codec::dispatch_data_bytes(format, kHidden)));
  row.scales.resize(static_cast<std::size_t>(codec::dispatch_scale_bytes(format, kHidden)));
  kernels().encode_dispatch(format, input.x.data() + token * kHidden, kHidden, row.data.data(),
                            row.scales.data());
  return row;
}

std::vector<std::uint16_t> expert_output(DispatchFormat format, const EncodedRow& row, int expert) {
  std::vector<float> values(kHidden);
  kernels().decode_dispatch(format, row.data.data(), row.scales.data(), kHidden, values.data());
  std::vector<std::uint16_t> output(kHidden);
  for (int i = 0; i < kHidden; ++i) {
    const auto at = static_cast<std::size_t>(i);
    output[at] = codec::float_to_bf16(values[at] * factor_of(expert, i));
  }
  return output;
}

std::vector<std::uint16_t> combined(const Case& c, const Topology& topology,
                                    const RankInput& input) {
  const ExpertMap map{topology.num_ranks * kLocalExperts, topology.num_ranks, c.combine_rounds};
  std::vector<std::uint16_t> output;
  for (int token = 0; token < input.num_tokens; ++token) {
    const auto expert_at = [&](int choice) {
      return input.topk_idx[static_cast<std::size_t>(token * kTopK + choice)];
    };
    const auto weight_at = [&](int choice) {
      return input.weights[static_cast<std::size_t>(token * kTopK + choice)];
    };
    const EncodedRow row = encoded(c.dispatch, input, token);
    std::vector<float> sum(kHidden, 0.0F);
    for (int choice = 0; choice < kTopK; ++choice) {
      const int expert = expert_at(choice);
      if (expert < 0) continue;
      if (c.reduce == Reduce::kTokenRank) {
        add(sum, weight_at(choice), travelled(c.combine, expert_output(c.dispatch, row, expert)));
        continue;
      }
      const auto together = [&](int other) {
        return expert_at(other) >= 0 && map.rank_of(expert_at(other)) == map.rank_of(expert) &&
               map.round_of(expert_at(other)) == map.round_of(expert);
      };
      bool first = true;
      for (int other = 0; other < choice; ++other) first = first && !together(other);
      if (!first) continue;
      std::vector<float> part(kHidden, 0.0F);
      for (int other = choice; other < kTopK; ++other) {
        if (!together(other)) continue;
        add(part, weight_at(other), widened(expert_output(c.dispatch, row, expert_at(other))));
      }
      add(sum, 1.0F, travelled(c.combine, rounded(part)));
    }
    const auto final_row = rounded(sum);
    output.insert(output.end(), final_row.begin(), final_row.end());
  }
  return output;
}

std::vector<double> combined_on_one_device(const RankInput& input) {
  std::vector<double> output;
  for (int token = 0; token < input.num_tokens; ++token) {
    for (int i = 0; i < kHidden; ++i) {
      const double value =
          codec::bf16_to_float(input.x[static_cast<std::size_t>(token * kHidden + i)]);
      double sum = 0.0;
      for (int choice = 0; choice < kTopK; ++choice) {
        const auto at = static_cast<std::size_t>(token * kTopK + choice);
        if (input.topk_idx[at] < 0) continue;
        sum += static_cast<double>(input.weights[at]) * value *
               static_cast<double>(factor_of(input.topk_idx[at], i));
      }
      output.push_back(sum);
    }
  }
  return output;
}

}  // namespace braid::conformance
