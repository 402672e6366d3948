// How operations fail: on every rank, naming the culprit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "conformance/small_case.hpp"
#include "runtime/group_backend.hpp"

namespace braid::conformance {
namespace {

using ::testing::HasSubstr;

TEST(Fails, ARankThatDoesNotComeIsNamedOnEveryOther) {
  for (const Topology& topology : {Topology{4, 4}, Topology{4, 2}}) {
    GroupOptions options;
    options.timeout_ms = 300;
    const auto failures = braid::testing::run_ranks(topology, options, [&](Group& group) {
      Buffer buffer(group, small_options(topology));
      if (group.rank() == 2) return;  // never dispatches
      Io io(topology);
      Stream stream = Stream::cpu();
      const Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
      try {
        stream.synchronize();
      } catch (const Error& error) {
        EXPECT_TRUE(error.code() == ErrorCode::kTimeout || error.code() == ErrorCode::kPeerFailed);
        // The group is ended: later calls say the same, and don't wait again.
        Stream fresh = Stream::cpu();
        EXPECT_THROW(buffer.dispatch_begin(io.input, io.output, io.options), Error);
        EXPECT_THROW(group.check(), Error);
        throw;
      }
    });
    for (const std::size_t rank : {0U, 1U, 3U}) {
      EXPECT_THAT(failures[rank], HasSubstr("rank 2 did not answer"));
      EXPECT_THAT(failures[rank], HasSubstr("dispatch receive, round 0"));
    }
    EXPECT_EQ(failures[2], "");
  }
}

TEST(Fails, ARankThatStopsBeforeCombineIsNamed) {
  const Topology topology{3, 3};
  GroupOptions options;
  options.timeout_ms = 300;
  const auto failures = braid::testing::run_ranks(topology, options, [&](Group& group) {
    Buffer buffer(group, small_options(topology));
    Io io(topology);
    Stream stream = Stream::cpu();
    const Handle handle = buffer.dispatch(io.input, io.output, io.options, stream);
    stream.synchronize();
    if (group.rank() == 1) return;
    buffer.combine(handle, io.combine_input, io.combine_output, io.combine_options, stream);
    stream.synchronize();
  });
  for (const std::size_t rank : {0U, 2U}) {
    EXPECT_THAT(failures[rank], HasSubstr("rank 1 did not answer"));
    EXPECT_THAT(failures[rank], HasSubstr("combine"));
  }
}

// A link that goes down after some puts.
class BrokenLink final : public Transport {
 public:
  BrokenLink(std::shared_ptr<Transport> inner, int puts) : inner_(std::move(inner)), left_(puts) {}
  const char* name() const noexcept override { return "broken"; }
  void put(const PutRequest& request) override {
    if (left_-- <= 0) throw Error(ErrorCode::kPeerFailed, "the link is down");
    inner_->put(request);
  }
  void signal(const SignalRequest& request) override { inner_->signal(request); }

 private:
  std::shared_ptr<Transport> inner_;
  std::atomic<int> left_;
};

class BrokenGroup final : public detail::GroupBackend {
 public:
  BrokenGroup(const Group& inner, int puts)
      : GroupBackend(inner.rank(), inner.topology(), inner.timeout_ms()),
        inner_(inner),
        puts_(puts) {}
  std::vector<std::string> all_gather(const std::string& mine, const std::string& what) override {
    return inner_.backend().all_gather(mine, what);
  }
  SymmetricMemory allocate(std::size_t bytes) override {
    SymmetricMemory memory = inner_.backend().allocate(bytes);
    memory.transport = std::make_shared<BrokenLink>(std::move(memory.transport), puts_);
    return memory;
  }

 private:
  Group inner_;
  int puts_;
};

TEST(Fails, ALinkThatGoesDownEndsEveryRankAndTheNodeAtOnce) {
  const Topology topology{4, 2};
  GroupOptions options;
  options.timeout_ms = 1500;  // what the other node, which can't be told, has to wait
  const auto failures = braid::testing::run_ranks(topology, options, [&](Group& plain) {
    Group group = plain.rank() == 0 ? Group(std::make_shared<BrokenGroup>(plain, 1)) : plain;
    Buffer buffer(group, small_options(topology));
    Io io(topology);
    io.idx = {8, 13};  // experts of the other node
    const auto start = std::chrono::steady_clock::now();
    Stream stream = Stream::cpu();
    try {
      // Its node may have got all of rank 0's first dispatch; the second one never comes.
      for (int i = 0; i < 2; ++i) {
        buffer.dispatch(io.input, io.output, io.options, stream);
        stream.synchronize();
      }
    } catch (const Error&) {
      if (group.rank() < 2) {
        EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(1400));
      }
      EXPECT_THROW(group.check(), Error);
      EXPECT_THROW(buffer.dispatch_begin(io.input, io.output, io.options), Error);
      throw;
    }
  });
  EXPECT_THAT(failures[0], HasSubstr("the link is down"));
  EXPECT_THAT(failures[1], HasSubstr("rank 0 reported that its own operations failed"));
  EXPECT_THAT(failures[2], HasSubstr("rank 0"));
  EXPECT_THAT(failures[3], HasSubstr("rank 0"));
}

TEST(Fails, AnEndedGroupTakesNoMoreOperations) {
  const Topology topology{2, 2};
  GroupOptions options;
  options.timeout_ms = 200;
  const auto failures = braid::testing::run_ranks(topology, options, [&](Group& group) {
    Buffer buffer(group, small_options(topology));
    if (group.rank() == 1) return;
    EXPECT_THROW(group.barrier(), Error);
    Io io(topology);
    EXPECT_THROW(buffer.dispatch_begin(io.input, io.output, io.options), Error);
  });
  EXPECT_EQ(failures[0], "");
}

}  // namespace
}  // namespace braid::conformance
