// Random tokens and routings: the same on every machine for one seed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace braid::app {

// SplitMix64: one word of state, good enough for test data, and the same everywhere, which the
// standard library's distributions are not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  // An independent stream of numbers for one purpose or rank.
  Random(std::uint64_t seed, std::uint64_t stream);

  std::uint64_t next();
  void skip(std::uint64_t numbers);  // as so many next()
  double uniform();                  // in (0, 1]
  double normal();                   // mean 0, deviation 1; of kNumbersOfNormal numbers
  int below(int limit);
  static constexpr std::uint64_t kNumbersOfNormal = 2;

 private:
  std::uint64_t state_;
};

// BF16 values of this root mean square, [num_tokens, hidden]. Many are drawn by several threads.
std::vector<std::uint16_t> random_tokens(Random& random, std::int64_t num_tokens, int hidden,
                                         double rms);

// What num_tokens tokens of a rank choose. Row-major [num_tokens, top_k].
struct Routing {
  int top_k = 0;
  std::vector<std::int64_t> topk_idx;
  std::vector<float> topk_weights;
};

// top_k different experts a token. kZipf: the expert of popularity rank i is drawn with a weight
// of 1 / (i + 1); which expert is the popular one is the same on every rank.
enum class Popularity { kUniform, kZipf };
Routing random_routing(Popularity popularity, int num_experts, int top_k, std::int64_t num_tokens,
                       std::uint64_t seed, int rank);

// Weights for given choices: positive, their sum 1 over the choices that are not -1.
std::vector<float> random_weights(Random& random, const std::vector<std::int64_t>& topk_idx,
                                  int top_k);

// A recorded routing: the tensor topk_idx [n, k] of a safetensors file, int32 or int64.
struct RecordedRouting {
  std::int64_t num_tokens = 0;
  int top_k = 0;
  std::vector<std::int64_t> topk_idx;
};
// Throws kMissing, kFormat, or kInvalidArgument naming the token and the value that is no expert.
RecordedRouting read_routing(const std::string& path, int num_experts);
// Rank's tokens begin at row rank * num_tokens, and go round the recording.
Routing replay(const RecordedRouting& recorded, std::int64_t num_tokens, std::uint64_t seed,
               int rank);

}  // namespace braid::app
