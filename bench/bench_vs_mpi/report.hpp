// What the comparison found, for readers and for programs.
#pragma once

#include <string>
#include <vector>

#include "bench_vs_mpi/comparison.hpp"

namespace braid::bench {

struct Report {
  Problem problem;
  std::vector<Pair> per_expert;
  std::vector<Pair> per_rank;
};

double median(std::vector<double> values);

// Ours over theirs, dispatch plus combine: the median of the pairs' ratios.
double ratio(const std::vector<Pair>& pairs);

// A table, then the two lines with the ratios.
std::string to_text(const Report& report);

// Throws kInvalidArgument when the file can't be written.
void write_json(const Report& report, const std::string& path);

}  // namespace braid::bench
