#include "conformance/throughput_oracle.hpp"

#include <algorithm>
#include <set>

#include "codec/bfloat16.hpp"

namespace braid::conformance {
namespace {

int expert_at(const RankInput& input, int token, int choice) {
  return input.topk_idx[static_cast<std::size_t>(token * kTopK + choice)];
}

}  // namespace

std::vector<int> ranks_of_token(const RankInput& input, int token) {
  std::set<int> ranks;
  for (int choice = 0; choice < kTopK; ++choice) {
    const int expert = expert_at(input, token, choice);
    if (expert >= 0) ranks.insert(expert / kLocalExperts);
  }
  return {ranks.begin(), ranks.end()};
}

std::vector<ExpectedRow> received_rows(const std::vector<RankInput>& inputs, int rank) {
  std::vector<ExpectedRow> rows;
  for (std::size_t source = 0; source < inputs.size(); ++source) {
    for (int token = 0; token < inputs[source].num_tokens; ++token) {
      const auto ranks = ranks_of_token(inputs[source], token);
      if (std::count(ranks.begin(), ranks.end(), rank) == 0) continue;
      rows.push_back({static_cast<int>(source), token});
    }
  }
  return rows;
}

std::vector<std::int64_t> rows_per_expert(const std::vector<RankInput>& inputs, int rank,
                                          int alignment) {
  std::vector<std::int64_t> counts;
  for (int local = 0; local < kLocalExperts; ++local) {
    const auto rows =
        static_cast<std::int64_t>(rows_of(inputs, rank * kLocalExperts + local).size());
    counts.push_back((rows + alignment - 1) / alignment * alignment);
  }
  return counts;
}

std::vector<std::int32_t> local_choices(const RankInput& input, int token, int rank) {
  std::vector<std::int32_t> locals;
  for (int choice = 0; choice < kTopK; ++choice) {
    const int expert = expert_at(input, token, choice);
    const bool is_local = expert >= 0 && expert / kLocalExperts == rank;
    locals.push_back(is_local ? expert % kLocalExperts : -1);
  }
  return locals;
}

std::vector<std::uint16_t> rank_output(DispatchFormat format, const EncodedRow& row, int rank) {
  return expert_output(format, row, 3 * rank + 1);
}

std::vector<std::uint16_t> bias_of(const RankInput& input, int bias) {
  std::vector<std::uint16_t> values(input.x.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int number = (static_cast<int>(i) * 31 + bias * 17) % 257 - 128;
    values[i] = codec::float_to_bf16(static_cast<float>(number) / 40.0F);
  }
  return values;
}

std::vector<std::uint16_t> combined_rows(DispatchFormat format, const RankInput& input,
                                         int num_biases) {
  std::vector<std::vector<std::uint16_t>> biases;
  for (int bias = 0; bias < num_biases; ++bias) biases.push_back(bias_of(input, bias));
  std::vector<std::uint16_t> output(input.x.size());
  auto next = output.begin();
  for (int token = 0; token < input.num_tokens; ++token) {
    std::vector<float> sum(kHidden, 0.0F);
    const auto add = [&sum](const std::uint16_t* row) {
      for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += codec::bf16_to_float(row[i]);
    };
    for (const auto& bias : biases) add(bias.data() + token * kHidden);
    const EncodedRow row = encoded(format, input, token);
    for (const int rank : ranks_of_token(input, token)) add(rank_output(format, row, rank).data());
    next = std::transform(sum.begin(), sum.end(), next, codec::sum_to_bf16);
  }
  return output;
}

float returned_weight(int rank, float weight, int choice) {
  return weight + static_cast<float>(rank * 10 + choice) / 7.0F;
}

std::vector<float> combined_weights(const RankInput& input) {
  std::vector<float> sums;
  for (int token = 0; token < input.num_tokens; ++token) {
    for (int choice = 0; choice < kTopK; ++choice) {
      float sum = 0.0F;
      for (const int rank : ranks_of_token(input, token)) {
        const int expert = expert_at(input, token, choice);
        const bool is_local = expert >= 0 && expert / kLocalExperts == rank;
        const float weight =
            is_local ? input.weights[static_cast<std::size_t>(token * kTopK + choice)] : 0.0F;
        sum += returned_weight(rank, weight, choice);
      }
      sums.push_back(sum);
    }
  }
  return sums;
}

}  // namespace braid::conformance
