// Four ranks as threads: every token goes to the ranks of its experts and comes home weighted.
#include <braid/buffer.hpp>

#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

namespace {

constexpr int kRanks = 4, kExperts = 8, kTokens = 2, kHidden = 128, kTopK = 2;
constexpr int kLocal = kExperts / kRanks, kCapacity = kRanks * kTokens;
constexpr std::uint16_t kOne = 0x3F80;  // 1.0 as BF16

// Returns how many channels of this rank's tokens came home wrong.
int run_rank(braid::Group& group) {
  braid::BufferOptions options;
  options.num_experts = kExperts;
  options.max_tokens = kTokens;
  options.hidden = kHidden;
  options.top_k = kTopK;
  braid::Buffer buffer(group, options);
  braid::Stream stream = braid::Stream::cpu();

  // Two tokens; each names an expert of this rank and one of the next.
  std::vector<std::uint16_t> x(kTokens * kHidden, kOne), out(x.size());
  std::vector<std::int32_t> experts;
  std::vector<float> weights;
  for (int token = 0; token < kTokens; ++token) {
    experts.insert(experts.end(), {group.rank() * kLocal, (group.rank() * kLocal + 3) % kExperts});
    weights.insert(weights.end(), {0.75F, 0.25F});
  }
  std::vector<std::uint16_t> rows(kLocal * kCapacity * kHidden);
  std::vector<std::int32_t> counts(kLocal);
  const braid::Tensor rows_view(rows.data(), braid::DType::kBFloat16, {kLocal, kCapacity, kHidden});
  const braid::Tensor weights_view(weights.data(), braid::DType::kFloat32, {kTokens, kTopK});

  braid::DispatchOptions dispatch;
  dispatch.format = braid::DispatchFormat::kBf16;
  const braid::Handle handle = buffer.dispatch(
      {{x.data(), braid::DType::kBFloat16, {kTokens, kHidden}},
       {experts.data(), braid::DType::kInt32, {kTokens, kTopK}},
       {}},
      {rows_view, {}, {counts.data(), braid::DType::kInt32, {kLocal}}, {}, {}}, dispatch, stream);
  // The experts would run here, on counts[e] rows of each. These ones return what they get.
  buffer.combine(handle, {rows_view, weights_view},
                 {{out.data(), braid::DType::kBFloat16, {kTokens, kHidden}}, {}}, {}, stream);
  stream.synchronize();
  int wrong = 0;
  for (const std::uint16_t value : out) wrong += value != kOne;  // 0.75 * 1 + 0.25 * 1
  return wrong;
}

}  // namespace

int main() {
  std::vector<braid::Group> groups = braid::Group::threads({kRanks, kRanks});
  std::vector<int> wrong(kRanks, -1);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < kRanks; ++rank) {
    threads.emplace_back([&, rank] {
      wrong[static_cast<std::size_t>(rank)] = run_rank(groups[static_cast<std::size_t>(rank)]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (const int count : wrong) {
    if (count != 0) return 1;
  }
  std::puts("every token came home");
  return 0;
}
