#include <gtest/gtest.h>

#include <string>

#include "app/hash.hpp"
#include "app/stats.hpp"

namespace braid::app {
namespace {

TEST(Percentile, TakesTheMiddleOrTheMeanOfTheTwoInTheMiddle) {
  EXPECT_EQ(percentile({3.0, 1.0, 2.0}, 0.5), 2.0);
  EXPECT_EQ(percentile({4.0, 1.0, 2.0, 3.0}, 0.5), 2.5);
  EXPECT_EQ(percentile({7.0}, 0.5), 7.0);
  EXPECT_EQ(percentile({}, 0.5), 0.0);
}

TEST(Percentile, OfNinetyNineIsTheValueThatOneInAHundredExceeds) {
  std::vector<double> values;
  for (int i = 1; i <= 200; ++i) values.push_back(i);
  EXPECT_EQ(percentile(values, 0.99), 198.0);
  EXPECT_EQ(percentile(values, 1.0), 200.0);
  EXPECT_EQ(percentile({1.0, 2.0}, 0.99), 2.0);
}

TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

TEST(Sha256, OfPiecesIsThatOfTheWhole) {
  Sha256 hash;
  hash.update("a", 1);
  hash.update("", 0);
  hash.update("bc", 2);
  EXPECT_EQ(hash.finish(), sha256("abc"));
}

}  // namespace
}  // namespace braid::app
