// The problem that every side solves: its sizes, its inputs, and the experts between dispatch and
// combine. All of it is a function of the seed, so that sides and runs see the same bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace braid::bench {

using Bf16 = std::uint16_t;  // the bits of a bfloat16

struct Problem {
  int ranks = 4;
  int hidden = 2048;
  int experts = 64;
  int top_k = 8;
  int tokens = 512;  // of each rank
  int pairs = 40;
  std::uint64_t seed = 1;
  std::string json_path;

  int num_local() const { return experts / ranks; }
  std::int64_t capacity() const { return std::int64_t{ranks} * tokens; }  // rows of an expert
};

// Throws kInvalidArgument with a sentence about the option that is wrong.
void validate(const Problem& problem);

// Page-aligned memory, not initialized. Pages come at the first touch, which the warm-up does.
template <class T>
class HostArray {
 public:
  HostArray() = default;
  explicit HostArray(std::size_t count)
      : memory_(new (std::align_val_t{4096}) std::byte[count * sizeof(T)]), count_(count) {}

  T* data() const { return reinterpret_cast<T*>(memory_.get()); }
  std::size_t size() const { return count_; }

 private:
  struct Release {
    void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t{4096}); }
  };
  std::unique_ptr<std::byte[], Release> memory_;
  std::size_t count_ = 0;
};

// A rank's tokens. Every token names k different experts; weights are positive and add to 1.
struct Batch {
  HostArray<Bf16> x;                   // [n, H]
  std::vector<std::int32_t> topk_idx;  // [n, k]
  std::vector<float> topk_weights;     // [n, k]
};

Batch make_batch(const Problem& problem, int rank, int index);

// What a dispatch fills.
struct ExpertRows {
  explicit ExpertRows(const Problem& problem);
  HostArray<Bf16> x;                 // [Le, R*T, H]
  std::vector<std::int32_t> counts;  // [Le]
};

// Stands for the experts: y = x times a factor that differs from expert to expert, so that a row
// that took the wrong expert's place shows.
void run_experts(const Problem& problem, int rank, const ExpertRows& rows, Bf16* y);

// 1 - 2*sum(x*y) / sum(x*x + y*y) in double; 0 where both are all zero.
double difference(const Bf16* x, const Bf16* y, std::size_t count);

}  // namespace braid::bench
