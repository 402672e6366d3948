// Four ranks as threads, in high throughput: a layout, outputs of exactly the received rows, a
// forward pass and its backward pass on one handle.
#include <braid/high_throughput.hpp>

#include <cstdint>
#include <cstdio>
#include <thread>
#include <vector>

namespace {

constexpr int kRanks = 4, kExperts = 8, kTokens = 100, kHidden = 128, kTopK = 2;
constexpr std::uint16_t kOne = 0x3F80, kTwo = 0x4000;  // 1.0 and 2.0 as BF16

// Returns how many values came home wrong.
int run_rank(braid::Group& group) {
  braid::HighThroughputOptions options;
  options.num_experts = kExperts;
  options.max_tokens = kTokens;
  options.hidden = kHidden;
  options.top_k = kTopK;
  braid::HighThroughputBuffer buffer(group, options);
  braid::Stream stream = braid::Stream::cpu();

  // Each token names an expert of this rank and one of the next.
  constexpr int kLocal = kExperts / kRanks;
  std::vector<std::int32_t> experts;
  for (int token = 0; token < kTokens; ++token) {
    experts.insert(experts.end(), {group.rank() * kLocal, (group.rank() * kLocal + 3) % kExperts});
  }
  std::vector<std::uint16_t> x(kTokens * kHidden, kOne), out(x.size()), gradient(x.size());
  const auto tokens = [](std::vector<std::uint16_t>& values) {
    return braid::Tensor(values.data(), braid::DType::kBFloat16, {kTokens, kHidden});
  };

  // Where rows go and come from; a handle is good for as many passes as there are.
  const braid::ThroughputHandle handle =
      buffer.layout({experts.data(), braid::DType::kInt32, {kTokens, kTopK}}, {}, stream);
  const std::int64_t rows = buffer.received(handle).num_rows;  // waits for the layout alone
  std::vector<std::uint16_t> received(static_cast<std::size_t>(rows * kHidden));
  std::vector<std::int32_t> local_experts(static_cast<std::size_t>(rows * kTopK));
  const braid::Tensor rows_view(received.data(), braid::DType::kBFloat16, {rows, kHidden});

  braid::DispatchedRows output;
  output.x = rows_view;
  output.topk_idx = {local_experts.data(), braid::DType::kInt32, {rows, kTopK}};
  buffer.dispatch(handle, {tokens(x), {}, {}}, output, {}, stream);
  // The experts would run here, on rows whose local_experts are not -1. These ones return what they
  // get, so each token comes home as the sum of two rows.
  buffer.combine(handle, {rows_view, {}}, {tokens(out), {}}, {}, stream);

  // The backward pass: combine's gradient is a dispatch, dispatch's gradient is a combine.
  buffer.dispatch(handle, {tokens(out), {}, {}}, {rows_view, {}, {}, {}}, {}, stream);
  buffer.combine(handle, {rows_view, {}}, {tokens(gradient), {}}, {}, stream);
  stream.synchronize();

  constexpr std::uint16_t kFour = 0x4080;
  int wrong = 0;
  for (const std::uint16_t value : out) wrong += value != kTwo;
  for (const std::uint16_t value : gradient) wrong += value != kFour;
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
  std::puts("every token came home, and so did its gradient");
  return 0;
}
