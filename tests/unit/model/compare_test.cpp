#include "model/compare.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "model_test.hpp"

namespace braid::model {
namespace {

using Values = std::vector<float>;

TEST(Compare, EqualResultsDifferByNothing) {
  const Values x = {1, -2, 3e-5F, 4e5F};
  EXPECT_EQ(diff(x, x), 0.0);
}

TEST(Compare, IsHalfTheSquaredRelativeErrorForSmallErrors) {
  const Values x(1000, 1.0F);
  const Values y(1000, 1.01F);
  EXPECT_NEAR(diff(x, y), 0.5 * 0.01 * 0.01, 1e-6);
}

TEST(Compare, SmallValuesCountAsMuchAsLargeOnes) {
  const Values x = {1e-20F, 2e-20F};
  const Values swapped = {2e-20F, 1e-20F};
  EXPECT_NEAR(diff(x, swapped), 1.0 - 8.0 / 10.0, 1e-6);
}

TEST(Compare, AnAllZeroResultNeverPasses) {
  const Values x = {1e-30F, 0};
  EXPECT_EQ(diff(x, Values(2, 0.0F)), 1.0);
  EXPECT_EQ(diff(Values(2, 0.0F), x), 1.0);
  EXPECT_EQ(diff(Values(2, 0.0F), Values(2, 0.0F)), 0.0);
  EXPECT_EQ(diff(Values{}, Values{}), 0.0);
}

TEST(Compare, OppositeSignsDifferMost) { EXPECT_EQ(diff(Values{1, 2}, Values{-1, -2}), 2.0); }

TEST(Compare, ValuesThatAreNotFiniteNeverPass) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float inf = std::numeric_limits<float>::infinity();
  for (const float bad : {nan, inf, -inf}) {
    for (const Values& other : {Values{1, 2}, Values{0, 0}, Values{1, bad}}) {
      const double one_way = diff(Values{1, bad}, other);
      const double other_way = diff(other, Values{1, bad});
      EXPECT_FALSE(one_way <= 1e30);
      EXPECT_FALSE(other_way <= 1e30);
      // Also not through a maximum over several comparisons.
      EXPECT_FALSE(std::max(0.0, one_way) <= 1e30);
      EXPECT_FALSE(std::max(one_way, 0.0) <= 1e30);
    }
  }
}

TEST(Compare, RefusesUnequalSizes) {
  test::expect_error(ErrorCode::kInvalidArgument, {"2", "3"}, [] { diff(Values(2), Values(3)); });
}

}  // namespace
}  // namespace braid::model
