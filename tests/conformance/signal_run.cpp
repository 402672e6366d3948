#include "conformance/signal_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <random>
#include <thread>

namespace braid::conformance {
namespace {

constexpr int kMakers = 2;
constexpr std::uint16_t kNan = 0x7FC0;

}  // namespace

std::string SignalCase::name() const {
  return fmt::format("{}/block_rows={}/threshold={}/{}", c.name(), block_rows, threshold,
                     beside ? "beside" : "before");
}

// Every number of rounds with every block size, the last one larger than an expert's rows; the
// other factors follow.
std::vector<SignalCase> signal_cases() {
  constexpr int kBlockRows[] = {5, 16, 64, 1000};
  constexpr int kRounds[] = {1, 2, 4};
  constexpr int kThresholds[] = {1, 3, 7};
  std::vector<SignalCase> cases;
  for (int size = 0; size < 4; ++size) {
    for (int rounds = 0; rounds < 3; ++rounds) {
      SignalCase s;
      s.block_rows = kBlockRows[size];
      s.threshold = kThresholds[(size + rounds) % 3];
      s.beside = (size + 2 * rounds) % 4 != 0;
      s.c.dispatch = size % 2 == 0 ? DispatchFormat::kBf16 : DispatchFormat::kFp8;
      s.c.combine = rounds == 1 ? CombineFormat::kLogFmt10 : CombineFormat::kBf16;
      s.c.combine_rounds = kRounds[rounds];
      s.c.workers = (size + rounds) % 2 == 0 ? 3 : 1;
      s.c.rows_of_one_round = (2 * size + rounds) % 3 == 1;
      s.c.zero_copy = (2 * size + rounds) % 3 == 2;
      cases.push_back(s);
    }
  }
  return cases;
}

std::vector<SignalRun::Block> SignalRun::blocks_of(const SignalCase& s, const Dispatched& d) const {
  std::vector<Block> blocks;
  for (int expert = 0; expert < kLocalExperts; ++expert) {
    const std::int64_t count = d.counts.host[static_cast<std::size_t>(expert)];
    for (std::int64_t first = 0; first < count; first += s.block_rows) {
      blocks.push_back(
          {expert, first / s.block_rows, {first, min_of(first + s.block_rows, count)}});
    }
  }
  return blocks;
}

void SignalRun::make(Making& making, std::vector<Block> blocks, int maker, std::uint64_t seed) {
  std::mt19937_64 random(seed * kMakers + static_cast<std::uint64_t>(maker));
  std::shuffle(blocks.begin(), blocks.end(), random);
  for (const Block& block : blocks) {
    for (int part = maker; part < making.s.threshold; part += kMakers) {
      if (making.s.beside && random() % 4 == 0) {
        std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
      }
      make_part(making, block, part);
      add_to_signal(making, block);
    }
  }
}

// Rows [n * part / threshold, n * (part + 1) / threshold) of the block's n rows.
void SignalRun::make_part(Making& making, const Block& block, int part) {
  const std::int64_t count = block.rows.end - block.rows.begin;
  const std::int64_t before = block.expert * capacity() + block.rows.begin;
  const std::int64_t begin = before + count * part / making.s.threshold;
  const std::int64_t end = before + count * (part + 1) / making.s.threshold;
  std::copy(making.rows.begin() + begin * kHidden, making.rows.begin() + end * kHidden,
            making.y.host.begin() + begin * kHidden);
  making.y.upload(static_cast<std::size_t>(begin * kHidden),
                  static_cast<std::size_t>((end - begin) * kHidden));
}

void SignalRun::add_to_signal(Making& making, const Block& block) {
  const std::int64_t blocks = ceil_div<std::int64_t>(capacity(), making.s.block_rows);
  const auto at = static_cast<std::size_t>(block.expert * blocks + block.block);
  if (memory_.is_host()) {
    std::atomic_ref<std::int32_t>(making.signals.host[at]).fetch_add(1, std::memory_order_release);
    return;
  }
  // A copy that comes behind the rows' own.
  const std::lock_guard lock(making.mutex);
  ++making.signals.host[at];
  making.signals.upload(at, 1);
}

void SignalRun::begin_combine(const SignalCase& s, Dispatched& d, Making& making,
                              Mirror<std::uint16_t>& out) {
  const RankInput& own = mine(d);
  const std::int64_t blocks = ceil_div<std::int64_t>(capacity(), s.block_rows);
  CombineInput input;
  if (!s.c.rows_of_one_round) input.x = experts_rows(s.c, making.y);
  input.topk_weights = {d.weights.data(), DType::kFloat32, {own.num_tokens, kTopK}};
  input.block_signals = {making.signals.data(), DType::kInt32, {kLocalExperts, blocks}};
  CombineOutput output;
  output.x = {out.data(), DType::kBFloat16, {own.num_tokens, kHidden}};
  CombineOptions options = combine_options(s.c);
  options.block_rows = s.block_rows;
  options.signal_threshold = s.threshold;
  buffer_.combine_begin(d.handle, input, output, options);
}

void SignalRun::send(const SignalCase& s, const Dispatched& d, Making& making) {
  const std::int64_t per_round = kLocalExperts / s.c.combine_rounds;
  for (int round = 0; round < s.c.combine_rounds; ++round) {
    Stream& stream = round % 2 == 0 ? stream_ : other_stream_;
    if (!s.c.rows_of_one_round) {
      buffer_.combine_send(d.handle, round, stream);
      continue;
    }
    const Tensor rows(making.y.data() + round * per_round * capacity() * kHidden, DType::kBFloat16,
                      {per_round, capacity(), kHidden});
    buffer_.combine_send(d.handle, round, rows, stream);
  }
}

std::string SignalRun::run_signals(const SignalCase& s, Routing routing, std::uint64_t seed) {
  Dispatched d;
  begin(s.c, routing, seed, d);
  buffer_.dispatch_send(d.handle, 0, stream_);
  buffer_.dispatch_receive(d.handle, 0, stream_);
  stream_.synchronize();
  if (std::string difference = check_dispatch(s.c, d); !difference.empty()) return difference;
  if (std::string difference = combine_and_check(s.c, d); !difference.empty()) return difference;

  std::vector<std::uint16_t> rows;
  {
    Mirror<std::uint16_t> made(
        memory_, std::vector(static_cast<std::size_t>(kLocalExperts * capacity() * kHidden), kNan));
    experts(s.c, d, {0, kLocalExperts}, made);
    rows = made.host;
  }
  Making making(s, rows);
  reset_rows(s.c, d, making.y);
  const std::int64_t blocks = ceil_div<std::int64_t>(capacity(), s.block_rows);
  making.signals.reset(
      memory_, std::vector<std::int32_t>(static_cast<std::size_t>(kLocalExperts * blocks), 0));
  Mirror<std::uint16_t> out(
      memory_, std::vector(static_cast<std::size_t>(mine(d).num_tokens * kHidden), kNan));
  begin_combine(s, d, making, out);
  if (s.beside) send(s, d, making);
  std::vector<std::jthread> makers;  // joined also where a call throws
  for (int maker = 0; maker < kMakers; ++maker) {
    makers.emplace_back([&, maker] { make(making, blocks_of(s, d), maker, seed); });
  }
  if (!s.beside) {
    makers.clear();
    send(s, d, making);
  }
  buffer_.combine_receive(d.handle, stream_);
  makers.clear();
  other_stream_.synchronize();
  stream_.synchronize();
  return check_combined(s.c, d, out);
}

}  // namespace braid::conformance
