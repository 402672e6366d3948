// Dispatch and combine in rounds: all sends first, then each round is received by its hook, its
// experts run on a stream of their own, and its rows start home while the next round arrives.
// One rank is enough to show the calls.
#include <braid/buffer.hpp>

#include <cstdint>
#include <cstdio>
#include <vector>

namespace {

constexpr int kExperts = 4, kTokens = 3, kHidden = 256, kTopK = 2, kRounds = 2;
constexpr int kPerRound = kExperts / kRounds;
constexpr std::int64_t kRoundElements = std::int64_t{kPerRound} * kTokens * kHidden;

}  // namespace

int main() {
  std::vector<braid::Group> groups = braid::Group::threads({1, 1});
  braid::Group& group = groups.front();
  braid::BufferOptions options;
  options.num_experts = kExperts;
  options.max_tokens = kTokens;
  options.hidden = kHidden;
  options.top_k = kTopK;
  options.max_rounds = kRounds;
  options.allow_per_expert = true;
  braid::Buffer buffer(group, options);
  braid::Stream communication = braid::Stream::cpu();
  braid::Stream compute = braid::Stream::cpu();

  std::vector<std::uint16_t> x(kTokens * kHidden, 0x4000), out(x.size());  // 2.0
  std::vector<std::int64_t> experts = {0, 3, 1, 2, -1, 0};                 // -1: no route
  std::vector<float> weights = {0.5F, 0.5F, 0.5F, 0.5F, 0.0F, 1.0F};
  std::vector<std::uint16_t> rows(kRounds * kRoundElements), results(rows.size());
  std::vector<std::int32_t> counts(kExperts);
  std::vector<std::int64_t> received_total(kExperts), waited_ns(1);

  braid::DispatchInput input;
  input.x = {x.data(), braid::DType::kBFloat16, {kTokens, kHidden}};
  input.topk_idx = {experts.data(), braid::DType::kInt64, {kTokens, kTopK}};
  input.topk_weights = {weights.data(), braid::DType::kFloat32, {kTokens, kTopK}};
  braid::DispatchOutput output;
  output.x = {rows.data(), braid::DType::kBFloat16, {kExperts, kTokens, kHidden}};
  output.counts = {counts.data(), braid::DType::kInt32, {kExperts}};
  output.received_total = {received_total.data(), braid::DType::kInt64, {kExperts}};
  output.waited_ns = {waited_ns.data(), braid::DType::kInt64, {1}};
  braid::DispatchOptions dispatch;
  dispatch.format = braid::DispatchFormat::kBf16;
  dispatch.fan_out = braid::FanOut::kPerExpert;
  dispatch.num_rounds = kRounds;
  dispatch.receive_workers = 2;

  const braid::Handle handle = buffer.dispatch_begin(input, output, dispatch);
  for (int round = 0; round < kRounds; ++round) {
    buffer.dispatch_send(handle, round, communication);
  }
  std::vector<braid::Event> computed;
  for (int round = 0; round < kRounds; ++round) {
    const braid::Hook receive = buffer.dispatch_hook(handle, round);
    receive(communication);
    compute.wait(communication.record());
    compute.run([&, round] {
      for (std::int64_t i = round * kRoundElements; i < (round + 1) * kRoundElements; ++i) {
        results[static_cast<std::size_t>(i)] = rows[static_cast<std::size_t>(i)];
      }
    });
    computed.push_back(compute.record());
  }
  braid::CombineOptions combine;
  combine.reduce = braid::Reduce::kExpertRank;  // the weights travelled with dispatch
  combine.num_rounds = kRounds;
  combine.rows_of_one_round = true;
  braid::CombineOutput combined;
  combined.x = {out.data(), braid::DType::kBFloat16, {kTokens, kHidden}};
  buffer.combine_begin(handle, {}, combined, combine);
  for (int round = 0; round < kRounds; ++round) {
    communication.wait(computed[static_cast<std::size_t>(round)]);
    buffer.combine_send(handle, round,
                        {results.data() + round * kRoundElements,
                         braid::DType::kBFloat16,
                         {kPerRound, kTokens, kHidden}},
                        communication);
  }
  buffer.combine_hook(handle)(communication);
  const braid::Event home = communication.record();
  home.wait();

  for (const std::uint16_t value : out) {
    if (value != 0x4000) return 1;
  }
  const braid::Traffic traffic = buffer.dispatch_traffic();
  std::printf("%llu messages in dispatch, all to this rank itself; %llu in combine\n",
              static_cast<unsigned long long>(traffic.local.messages),
              static_cast<unsigned long long>(buffer.combine_traffic().local.messages));
  return home.ready() && traffic.local.messages == 5 && handle.valid() ? 0 : 1;
}
