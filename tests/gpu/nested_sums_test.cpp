// Nested sums of every shape have the codec's bits: rings with room for all steps, some or none,
// and rows that are shorter than a step, end within one, or take many.
#include "gpu/nested_sums.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "backend/cuda/launch.hpp"
#include "codec/bfloat16.hpp"
#include "gpu/gpu_ranks.hpp"

namespace braid::gpu_test {
namespace {

constexpr int kRows = 64;
constexpr std::uint16_t kSpecial[] = {0x0000, 0x8000, 0x0001, 0x8001,
                                      0x0080, 0x7f80, 0xff80, 0x7fc1};

// All bits, but for most channels' being near 1, since sums of these are what rounds, and for some
// that are zeros of either sign, infinities and the like.
std::vector<std::uint16_t> make_rows(int hidden, std::mt19937& random) {
  std::vector<std::uint16_t> rows(static_cast<std::size_t>(kRows * hidden));
  for (auto& value : rows) {
    const auto bits = static_cast<std::uint16_t>(random());
    value = random() % 16 == 0 ? bits : static_cast<std::uint16_t>((bits & 0x81ff) | 0x3e00);
    if (random() % 4 == 0) value = kSpecial[random() % std::size(kSpecial)];
  }
  return rows;
}

struct Sum {
  NestedTerms terms;
  std::vector<int> rows;  // the inner ones, then the plain ones
  std::vector<float> weights;
};

Sum make_sum(int num_inner, int num_plain, std::mt19937& random) {
  Sum sum;
  sum.terms = {num_inner, num_plain, static_cast<int>(random() % (num_plain + 1))};
  for (int i = 0; i < num_inner + num_plain; ++i) sum.rows.push_back(random() % kRows);
  for (int i = 0; i < num_inner; ++i) {
    const float weight = static_cast<float>(random() % 1000) / 512.0F - 0.5F;
    constexpr float kFew[] = {0.0F, -0.0F, 1e-40F, -1e-40F};
    sum.weights.push_back(random() % 4 == 0 ? kFew[random() % std::size(kFew)] : weight);
  }
  return sum;
}

std::vector<Sum> make_sums(std::mt19937& random) {
  std::vector<Sum> sums;
  for (int num_inner = 0; num_inner <= 9; ++num_inner) {
    for (int num_plain = 0; num_plain <= 4; ++num_plain) {
      sums.push_back(make_sum(num_inner, num_plain, random));
    }
  }
  sums.push_back(make_sum(30, 9, random));
  sums.push_back(make_sum(0, 20, random));
  return sums;
}

std::vector<std::uint16_t> expected(const Sum& sum, const std::vector<std::uint16_t>& rows,
                                    int hidden) {
  std::vector<std::uint16_t> out;
  for (int channel = 0; channel < hidden; ++channel) {
    const auto value = [&](int i) {
      const int row = sum.rows[static_cast<std::size_t>(i)];
      return codec::bf16_to_float(rows[static_cast<std::size_t>(row * hidden + channel)]);
    };
    const int num_inner = sum.terms.num_inner;
    float inner = 0.0F, total = 0.0F;
    for (int i = 0; i < num_inner; ++i) {
      inner = std::fma(sum.weights[static_cast<std::size_t>(i)], value(i), inner);
    }
    for (int i = 0; i <= sum.terms.num_plain; ++i) {
      if (i == sum.terms.inner_at && num_inner > 0) {
        total += codec::bf16_to_float(codec::sum_to_bf16(inner));
      }
      if (i < sum.terms.num_plain) total += value(num_inner + i);
    }
    out.push_back(codec::sum_to_bf16(total));
  }
  return out;
}

// What the device reads, in its memory.
class OnDevice {
 public:
  template <class T>
  const T* put(const std::vector<T>& values) {
    const auto bytes = static_cast<std::int64_t>(values.size() * sizeof(T));
    memory_.push_back(std::make_unique<DeviceMemory>(bytes));
    memory_.back()->upload(values.data());
    return reinterpret_cast<const T*>(memory_.back()->data());
  }

 private:
  std::vector<std::unique_ptr<DeviceMemory>> memory_;
};

class NestedSum : public ::testing::TestWithParam<std::tuple<int, int, SumsGo>> {};

TEST_P(NestedSum, HasTheCodecsBits) {
  const auto [hidden, ring_steps, go] = GetParam();
  std::mt19937 random(static_cast<std::uint32_t>(hidden));
  const auto rows = make_rows(hidden, random);
  const auto sums = make_sums(random);
  OnDevice device;
  const auto* memory = reinterpret_cast<const std::byte*>(device.put(rows));
  const std::size_t count = sums.size();
  std::vector<const std::byte*> pointers(count * kMostTerms, nullptr);
  std::vector<float> weights(count * kMostTerms, 0.0F);
  std::vector<NestedTerms> terms;
  for (std::size_t i = 0; i < count; ++i) {
    terms.push_back(sums[i].terms);
    for (std::size_t at = 0; at < sums[i].rows.size(); ++at) {
      pointers[i * kMostTerms + at] = memory + std::int64_t{2} * hidden * sums[i].rows[at];
    }
    std::copy(sums[i].weights.begin(), sums[i].weights.end(),
              weights.begin() + static_cast<std::ptrdiff_t>(i * kMostTerms));
  }
  DeviceMemory out(static_cast<std::int64_t>(count) * 2 * hidden);
  out.poison();
  launch_nested_sums({device.put(pointers), device.put(weights), device.put(terms), out.data(),
                      static_cast<std::int32_t>(count), hidden, ring_steps, go},
                     nullptr);
  cuda::check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  std::vector<std::uint16_t> found(count * static_cast<std::size_t>(hidden));
  out.download(found.data());
  for (std::size_t i = 0; i < count; ++i) {
    const auto begin = found.begin() + static_cast<std::ptrdiff_t>(i * hidden);
    EXPECT_EQ(std::vector(begin, begin + hidden), expected(sums[i], rows, hidden))
        << terms[i].num_inner << " inner rows at " << terms[i].inner_at << " of "
        << terms[i].num_plain;
  }
}

std::string name_of(const ::testing::TestParamInfo<NestedSum::ParamType>& test) {
  return "hidden" + std::to_string(std::get<0>(test.param)) + "_ring" +
         std::to_string(std::get<1>(test.param)) +
         (std::get<2>(test.param) == SumsGo::kToMemory ? "_to_memory" : "_as_rows");
}

constexpr auto kEitherWay = {SumsGo::kToMemory, SumsGo::kAsRows};

INSTANTIATE_TEST_SUITE_P(Gpu, NestedSum,
                         ::testing::Combine(::testing::Values(8, 128, 384, 512, 1160, 7168),
                                            ::testing::Values(4, 6, 12, 17),  // four are the strips
                                            ::testing::ValuesIn(kEitherWay)),
                         name_of);
INSTANTIATE_TEST_SUITE_P(Racecheck, NestedSum,
                         ::testing::Combine(::testing::Values(2312), ::testing::Values(12),
                                            ::testing::ValuesIn(kEitherWay)),
                         name_of);

}  // namespace
}  // namespace braid::gpu_test
