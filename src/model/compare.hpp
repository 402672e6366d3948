// How far two results are apart: the one measure that every comparison of layers uses.
#pragma once

#include <cmath>
#include <limits>
#include <span>

#include "base/check.hpp"

namespace braid::model {

// 1 - 2 * sum(x*y) / sum(x*x + y*y), in double: about half the squared relative error. 0 for equal
// inputs, among them two that are all zero; 1 if only one of them is. Infinity if either holds a
// value that is not finite, so that no limit lets it pass. Throws kInvalidArgument for unequal
// sizes.
//
// Nothing is added to x and y first, as some tests elsewhere do: small outputs would then hide in
// the shift, and an all-zero result would pass.
inline double diff(std::span<const float> x, std::span<const float> y) {
  require(x.size() == y.size(), "the results to compare have {} and {} values", x.size(), y.size());
  double products = 0;
  double squares = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double a = x[i];
    const double b = y[i];
    products += a * b;
    squares += a * a + b * b;
  }
  if (!std::isfinite(squares)) return std::numeric_limits<double>::infinity();
  if (squares == 0) return 0;
  return 1 - 2 * products / squares;
}

}  // namespace braid::model
