// A small random layer on threaded ranks, run by any schedule: routes follow from a token's bits
// alone, so that a layer's output can be the next one's input.
#pragma once

#include <cstdint>
#include <list>
#include <vector>

#include "app/cpu_experts.hpp"
#include "base/math.hpp"
#include "braid/moe.hpp"
#include "expert/expert.hpp"

namespace braid::test {

struct MoeCase {
  std::vector<int> tokens;  // of each rank
  DispatchFormat format = DispatchFormat::kBf16;
  int layers = 1;
  int ranks_per_node = 0;  // 0: all
  int signal_threshold = 0;
  std::int64_t timeout_ms = 20000;

  Topology topology() const;
  int max_tokens() const;
};

inline constexpr int kMoeExperts = 8, kMoeHidden = 128, kMoeTopK = 3, kMoeBlockRows = 16;

// A rank's tokens: row major [n, kMoeHidden].
using Rows = std::vector<std::uint16_t>;
Rows random_tokens(int rank, int count);

// One rank, ready to run schedules.
class MoeRank {
 public:
  MoeRank(Group& group, const MoeCase& of, const BufferNeeds& needs);

  // The last layer's output of this rank's tokens. Collective.
  Rows run(const Schedule& schedule, const Rows& x, int micro_batches = 1);
  Bindings& bindings() { return bindings_; }

 private:
  struct Memory {
    std::vector<std::byte> x, scales;
    Rows rows;
    std::vector<std::int32_t> counts, signals;
  };

  void gate(OperationContext& context) const;
  void prepare(State& state, int batch, int layer);
  Range range_of(int batch) const;
  Tensor part(void* data, DType dtype, const Range& range) const;
  DispatchOutput received(Memory& memory) const;

  MoeCase case_;
  Buffer buffer_;
  Rows weights_;  // of all experts, then the shared one
  ExpertFfn experts_, shared_;
  std::int64_t capacity_, num_tokens_;
  int num_local_;
  Rows x_;
  std::vector<Rows> outputs_;  // by layer
  std::vector<std::int64_t> topk_idx_;
  std::vector<float> topk_weights_, shared_out_;
  std::list<Memory> memories_;  // by micro-batch
  Bindings bindings_;
};

// Every rank's output of a schedule, on a group of its own. Fails the test where a rank throws.
std::vector<Rows> run_moe(const MoeCase& of, const Schedule& schedule, int micro_batches = 1);

}  // namespace braid::test
