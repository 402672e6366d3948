// Combine without a copy: the experts write their rows where the buffer sends them from. One rank
// is enough to show the calls.
#include <braid/buffer.hpp>

#include <cstdint>
#include <cstdio>
#include <vector>

namespace {

constexpr int kExperts = 2, kTokens = 3, kHidden = 256, kTopK = 1;
constexpr std::uint16_t kTwo = 0x4000, kFour = 0x4080;  // BF16

}  // namespace

int main() {
  std::vector<braid::Group> groups = braid::Group::threads({1, 1});
  braid::BufferOptions options;
  options.num_experts = kExperts;
  options.max_tokens = kTokens;
  options.hidden = kHidden;
  options.top_k = kTopK;
  options.combine_regions = true;
  braid::Buffer buffer(groups.front(), options);
  braid::Stream stream = braid::Stream::cpu();

  std::vector<std::uint16_t> x(kTokens * kHidden, kTwo), out(x.size());
  std::vector<std::int32_t> experts = {0, 1, 1};
  std::vector<float> weights = {1.0F, 1.0F, 1.0F};
  std::vector<std::uint16_t> rows(kExperts * kTokens * kHidden);
  std::vector<std::int32_t> counts(kExperts);
  braid::DispatchInput input;
  input.x = {x.data(), braid::DType::kBFloat16, {kTokens, kHidden}};
  input.topk_idx = {experts.data(), braid::DType::kInt32, {kTokens, kTopK}};
  braid::DispatchOutput output;
  output.x = {rows.data(), braid::DType::kBFloat16, {kExperts, kTokens, kHidden}};
  output.counts = {counts.data(), braid::DType::kInt32, {kExperts}};
  braid::DispatchOptions dispatch;
  dispatch.format = braid::DispatchFormat::kBf16;
  const braid::Handle handle = buffer.dispatch(input, output, dispatch, stream);

  // [experts, rows, hidden], laid out as what arrived. These experts double what they get.
  auto* region = buffer.combine_region(handle).as<std::uint16_t>();
  stream.run([&] {
    for (int expert = 0; expert < kExperts; ++expert) {
      const std::size_t first = static_cast<std::size_t>(expert) * kTokens * kHidden;
      const auto count = static_cast<std::size_t>(counts[static_cast<std::size_t>(expert)]);
      for (std::size_t i = first; i < first + count * kHidden; ++i) {
        region[i] = static_cast<std::uint16_t>(rows[i] + 0x80);  // one more in the exponent
      }
    }
  });
  // No x: the rows are in the region.
  buffer.combine(handle, {{}, {weights.data(), braid::DType::kFloat32, {kTokens, kTopK}}},
                 {{out.data(), braid::DType::kBFloat16, {kTokens, kHidden}}, {}}, {}, stream);
  stream.synchronize();

  for (const std::uint16_t value : out) {
    if (value != kFour) return 1;
  }
  std::printf("%d tokens came home from the region\n", kTokens);
  return 0;
}
