// Symmetric memory between processes, one for each GPU. Started without RANK it starts itself once
// for each of two ranks (or as many as its argument says); with RANK it is one of them.
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "backend/cuda/launch.hpp"
#include "backend/cuda/nccl_windows.hpp"
#include "base/check.hpp"
#include "braid/group.hpp"
#include "gpu/window_kernels.hpp"
#include "runtime/launch.hpp"

namespace braid::gpu_test {
namespace {

using cuda::check;
using cuda::WindowMemory;

enum class Writer { kKernel, kCopy };

struct Block {
  WindowMemory memory;
  std::size_t bytes = 0;
};

class Rank {
 public:
  explicit Rank(Group& group)
      : group_(group), rank_(group.rank()), num_ranks_(group.topology().num_ranks) {}

  Block allocate(std::size_t bytes) {
    Block block;
    block.bytes = bytes;
    block.memory =
        cuda::allocate_windows({rank_, num_ranks_, rank_, bytes, [this](const std::string& mine) {
                                  return group_.all_gather(mine);
                                }});
    check(cudaSetDevice(rank_), "cudaSetDevice");
    check_pointers(block);
    for (const std::byte byte : contents(block.memory.local, bytes))
      if (byte != std::byte{0})
        fail(ErrorCode::kInternal, "a new block of {} bytes is not 0", bytes);
    group_.barrier();  // nobody writes before everybody has looked
    return block;
  }

  // Every rank marks its share of every block, its own among them; then looks at its own block,
  // and at its share of the others'.
  void exchange(const Block& block, Writer writer, std::uint64_t round) {
    for (int peer = 0; peer < num_ranks_; ++peer) mark(block, peer, writer, round);
    group_.barrier();
    for (int source = 0; source < num_ranks_; ++source)
      compare(block, {source, rank_}, round, block.memory.local);
    for (int peer = 0; peer < num_ranks_; ++peer)
      compare(block, {rank_, peer}, round, block.memory.peers[static_cast<std::size_t>(peer)]);
    group_.barrier();
    say(fmt::format("round {}: {} shares of {} bytes arrived, written by {}", round, num_ranks_,
                    num_words(block) * sizeof(std::uint64_t),
                    writer == Writer::kKernel ? "a kernel" : "cudaMemcpy"));
  }

  // Rank by rank, so that a rank's memory ends while the others still use theirs.
  void drop_in_turn(Block& dropped, const Block& kept, std::uint64_t round) {
    for (int turn = 0; turn < num_ranks_; ++turn) {
      if (turn == rank_) dropped.memory = {};
      group_.barrier();
    }
    exchange(kept, Writer::kKernel, round);
    say("a block was dropped rank by rank, and the other one still works");
  }

  void say(const std::string& text) const {
    if (rank_ != 0) return;
    std::fputs(fmt::format("{}\n", text).c_str(), stdout);
    std::fflush(stdout);
  }

 private:
  struct Way {
    int source;
    int destination;
  };

  static std::uint64_t seed(Way way, std::uint64_t round) {
    return (round << 48) + (static_cast<std::uint64_t>(way.source) << 32) +
           (static_cast<std::uint64_t>(way.destination) << 16) + 1;
  }
  std::size_t num_words(const Block& block) const {
    return block.bytes / static_cast<std::size_t>(num_ranks_) / sizeof(std::uint64_t);
  }
  std::size_t share_at(const Block& block, int source) const {
    return static_cast<std::size_t>(source) * num_words(block) * sizeof(std::uint64_t);
  }

  static std::vector<std::byte> contents(const std::byte* from, std::size_t bytes) {
    std::vector<std::byte> copy(bytes);
    check(cudaMemcpy(copy.data(), from, bytes, cudaMemcpyDefault), "cudaMemcpy");
    return copy;
  }

  void check_pointers(const Block& block) const {
    const auto& peers = block.memory.peers;
    BRAID_CHECK(peers.size() == static_cast<std::size_t>(num_ranks_));
    BRAID_CHECK(block.memory.local == peers[static_cast<std::size_t>(rank_)]);
    for (std::size_t i = 0; i < peers.size(); ++i) {
      BRAID_CHECK(peers[i] != nullptr && reinterpret_cast<std::uintptr_t>(peers[i]) % 4096 == 0);
      for (std::size_t j = 0; j < i; ++j) BRAID_CHECK(peers[i] != peers[j]);
    }
  }

  void mark(const Block& block, int peer, Writer writer, std::uint64_t round) const {
    std::byte* share = block.memory.peers[static_cast<std::size_t>(peer)] + share_at(block, rank_);
    const std::uint64_t first = seed({rank_, peer}, round);
    if (writer == Writer::kKernel)
      return write_marks({reinterpret_cast<std::uint64_t*>(share), num_words(block), first});
    std::vector<std::uint64_t> words(num_words(block));
    for (std::size_t i = 0; i < words.size(); ++i) words[i] = first + i * kMarkStep;
    check(cudaMemcpy(share, words.data(), words.size() * sizeof(words[0]), cudaMemcpyDefault),
          "cudaMemcpy into a peer");
    check(cudaDeviceSynchronize(), "cudaMemcpy into a peer");
  }

  // from: the destination's block, by any of its addresses.
  void compare(const Block& block, Way way, std::uint64_t round, const std::byte* from) const {
    std::vector<std::uint64_t> words(num_words(block));
    check(cudaMemcpy(words.data(), from + share_at(block, way.source),
                     words.size() * sizeof(words[0]), cudaMemcpyDefault),
          "cudaMemcpy of what arrived");
    for (std::size_t i = 0; i < words.size(); ++i) {
      const std::uint64_t expected = seed(way, round) + i * kMarkStep;
      if (words[i] == expected) continue;
      fail(
          ErrorCode::kInternal,
          "round {}: word {} that rank {} wrote to rank {} is {:#x} as rank {} sees it, but should "
          "be {:#x}",
          round, i, way.source, way.destination, words[i], rank_, expected);
    }
  }

  Group& group_;
  int rank_;
  int num_ranks_;
};

void exchange_everything(Group& group) {
  Rank rank(group);
  Block first = rank.allocate(std::size_t{64} << 20);
  rank.exchange(first, Writer::kKernel, 1);
  rank.exchange(first, Writer::kCopy, 2);
  Block second = rank.allocate(3 * 4096 + 1000);  // no multiple of a page
  rank.exchange(second, Writer::kCopy, 3);
  rank.exchange(first, Writer::kKernel, 4);
  rank.drop_in_turn(first, second, 5);
  second.memory = {};
  Block third = rank.allocate(std::size_t{1} << 20);
  rank.exchange(third, Writer::kKernel, 6);
  rank.say("a block was allocated after all others were gone");
}

int run_rank() {
  try {
    Group group = Group::from_environment();
    exchange_everything(group);
    group.barrier();
    return 0;
  } catch (const std::exception& error) {
    std::fputs(fmt::format("{}\n", error.what()).c_str(), stderr);
    return 1;
  }
}

int run_all(int num_ranks) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  LaunchOptions options;
  options.limit_ms = 180000;
  const auto results = run_processes(num_ranks, num_ranks, {self}, options);
  int num_well = 0;
  for (std::size_t rank = 0; rank < results.size(); ++rank) {
    if (results[rank].well()) ++num_well;
    if (results[rank].killed) std::printf("rank %zu did not end in time\n", rank);
  }
  std::printf("%s: %d of %d ranks\n", num_well == num_ranks ? "passed" : "FAILED", num_well,
              num_ranks);
  return num_well == num_ranks ? 0 : 1;
}

}  // namespace
}  // namespace braid::gpu_test

int main(int argc, char** argv) {
  if (std::getenv("RANK") != nullptr) return braid::gpu_test::run_rank();
  return braid::gpu_test::run_all(argc > 1 ? std::atoi(argv[1]) : 2);
}
