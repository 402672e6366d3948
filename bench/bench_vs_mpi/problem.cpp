#include "bench_vs_mpi/problem.hpp"

#include <numeric>
#include <random>

#include "base/check.hpp"
#include "codec/bfloat16.hpp"

namespace braid::bench {

namespace {

std::size_t elements(std::int64_t rows, int hidden) {
  return static_cast<std::size_t>(rows) * static_cast<std::size_t>(hidden);
}

}  // namespace

void validate(const Problem& problem) {
  require(problem.ranks >= 1, "--ranks is {}, but must be at least 1", problem.ranks);
  require(problem.hidden >= 8 && problem.hidden % 8 == 0,
          "--hidden is {}, but must be a positive multiple of 8", problem.hidden);
  require(problem.experts >= 1 && problem.experts % problem.ranks == 0,
          "--experts is {}, but must be a positive multiple of --ranks ({})", problem.experts,
          problem.ranks);
  require(problem.top_k >= 1 && problem.top_k <= 32 && problem.top_k <= problem.experts,
          "--topk is {}, but must be 1 to 32 and at most --experts ({})", problem.top_k,
          problem.experts);
  require(problem.tokens >= 1, "--tokens is {}, but must be at least 1", problem.tokens);
  require(problem.pairs >= 1, "--pairs is {}, but must be at least 1", problem.pairs);
}

Batch make_batch(const Problem& problem, int rank, int index) {
  std::seed_seq seeds{problem.seed & 0xffffffffu, problem.seed >> 32,
                      static_cast<std::uint64_t>(rank), static_cast<std::uint64_t>(index)};
  std::mt19937 random(seeds);
  std::normal_distribution<float> normal;
  std::uniform_real_distribution<float> score(0.05F, 1.0F);

  Batch batch;
  batch.x = HostArray<Bf16>(elements(problem.tokens, problem.hidden));
  for (std::size_t i = 0; i < batch.x.size(); ++i)
    batch.x.data()[i] = codec::float_to_bf16(normal(random));

  std::vector<std::int32_t> experts(static_cast<std::size_t>(problem.experts));
  std::iota(experts.begin(), experts.end(), 0);
  for (int token = 0; token < problem.tokens; ++token) {
    float sum = 0;
    for (int choice = 0; choice < problem.top_k; ++choice) {
      std::uniform_int_distribution<int> pick(choice, problem.experts - 1);
      std::swap(experts[static_cast<std::size_t>(choice)],
                experts[static_cast<std::size_t>(pick(random))]);
      batch.topk_idx.push_back(experts[static_cast<std::size_t>(choice)]);
      batch.topk_weights.push_back(score(random));
      sum += batch.topk_weights.back();
    }
    for (int choice = 0; choice < problem.top_k; ++choice) {
      *(batch.topk_weights.end() - 1 - choice) /= sum;
    }
  }
  return batch;
}

ExpertRows::ExpertRows(const Problem& problem)
    : x(elements(problem.num_local() * problem.capacity(), problem.hidden)),
      counts(static_cast<std::size_t>(problem.num_local())) {}

void run_experts(const Problem& problem, int rank, const ExpertRows& rows, Bf16* y) {
  for (int local = 0; local < problem.num_local(); ++local) {
    const int expert = rank * problem.num_local() + local;
    const float factor = 0.5F + 0.125F * static_cast<float>(expert % 13);
    const std::size_t begin = elements(local * problem.capacity(), problem.hidden);
    const std::size_t count =
        elements(rows.counts[static_cast<std::size_t>(local)], problem.hidden);
    for (std::size_t i = begin; i < begin + count; ++i) {
      y[i] = codec::float_to_bf16(factor * codec::bf16_to_float(rows.x.data()[i]));
    }
  }
}

double difference(const Bf16* x, const Bf16* y, std::size_t count) {
  double product = 0;
  double squares = 0;
  for (std::size_t i = 0; i < count; ++i) {
    const double a = codec::bf16_to_float(x[i]);
    const double b = codec::bf16_to_float(y[i]);
    product += a * b;
    squares += a * a + b * b;
  }
  return squares == 0 ? 0 : 1 - 2 * product / squares;
}

}  // namespace braid::bench
