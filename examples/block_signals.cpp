// Combine beside the work that makes its rows: the send is enqueued first, and takes each block of
// rows once it was signaled. One rank is enough to show the calls.
#include <braid/buffer.hpp>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdio>
#include <vector>

namespace {

constexpr int kExperts = 2, kTokens = 8, kHidden = 256, kTopK = 1;
constexpr int kBlockRows = 4, kBlocks = kTokens / kBlockRows;  // ceil(R*T / block_rows)
constexpr std::uint16_t kTwo = 0x4000, kFour = 0x4080;         // BF16

}  // namespace

int main() {
  std::vector<braid::Group> groups = braid::Group::threads({1, 1});
  braid::BufferOptions options;
  options.num_experts = kExperts;
  options.max_tokens = kTokens;
  options.hidden = kHidden;
  options.top_k = kTopK;
  braid::Buffer buffer(groups.front(), options);
  braid::Stream communication = braid::Stream::cpu();
  braid::Stream compute = braid::Stream::cpu();

  std::vector<std::uint16_t> x(kTokens * kHidden, kTwo), out(x.size());
  std::vector<std::int32_t> experts = {0, 1, 1, 1, 0, 1, 1, 1};
  std::vector<float> weights(kTokens, 1.0F);
  std::vector<std::uint16_t> rows(kExperts * kTokens * kHidden), results(rows.size());
  std::vector<std::int32_t> counts(kExperts);
  braid::DispatchInput input;
  input.x = {x.data(), braid::DType::kBFloat16, {kTokens, kHidden}};
  input.topk_idx = {experts.data(), braid::DType::kInt32, {kTokens, kTopK}};
  braid::DispatchOutput output;
  output.x = {rows.data(), braid::DType::kBFloat16, {kExperts, kTokens, kHidden}};
  output.counts = {counts.data(), braid::DType::kInt32, {kExperts}};
  braid::DispatchOptions dispatch;
  dispatch.format = braid::DispatchFormat::kBf16;
  const braid::Handle handle = buffer.dispatch(input, output, dispatch, communication);
  const braid::Event received = communication.record();

  std::vector<std::int32_t> signals(kExperts * kBlocks, 0);
  braid::CombineInput combine_input;
  combine_input.x = {results.data(), braid::DType::kBFloat16, {kExperts, kTokens, kHidden}};
  combine_input.topk_weights = {weights.data(), braid::DType::kFloat32, {kTokens, kTopK}};
  combine_input.block_signals = {signals.data(), braid::DType::kInt32, {kExperts, kBlocks}};
  braid::CombineOutput combine_output;
  combine_output.x = {out.data(), braid::DType::kBFloat16, {kTokens, kHidden}};
  braid::CombineOptions combine;
  combine.block_rows = kBlockRows;
  combine.signal_threshold = 1;  // one addition a block; a GEMM has one for each of its tiles
  buffer.combine(handle, combine_input, combine_output, combine, communication);

  // Meanwhile, on a stream of their own: these experts double what they get.
  compute.wait(received);
  compute.run([&] {
    for (int expert = 0; expert < kExperts; ++expert) {
      const int count = counts[static_cast<std::size_t>(expert)];
      for (int block = 0; block * kBlockRows < count; ++block) {
        const int end = std::min((block + 1) * kBlockRows, count);
        for (int i = block * kBlockRows * kHidden; i < end * kHidden; ++i) {
          const auto at = static_cast<std::size_t>(expert * kTokens * kHidden + i);
          results[at] = static_cast<std::uint16_t>(rows[at] + 0x80);  // one more in the exponent
        }
        std::int32_t& signal = signals[static_cast<std::size_t>(expert * kBlocks + block)];
        std::atomic_ref<std::int32_t>(signal).fetch_add(1, std::memory_order_release);
      }
    }
  });
  compute.synchronize();
  communication.synchronize();

  for (const std::uint16_t value : out) {
    if (value != kFour) return 1;
  }
  std::printf("%d tokens came home, block by block\n", kTokens);
  return 0;
}
