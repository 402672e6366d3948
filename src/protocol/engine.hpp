// What runs one rank's roles of one buffer, whatever its streams are made of.
#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "braid/buffer.hpp"
#include "machine/machine.hpp"
#include "machine/stream_backend.hpp"
#include "protocol/args.hpp"

namespace braid::protocol {

// The first failure that a rank's operations met: its own timeout, or a peer's report of one.
struct Failure {
  machine::WaitTag tag;  // tag.peer: the rank that did not answer
  std::uint32_t expected_epoch = 0;
  machine::Word seen = 0;
  int reporter = -1;        // the rank whose wait ended
  bool peer_ended = false;  // before its time was up: the peer will never answer
};

// The buffer that an engine works for; outlives it.
class EngineOwner : public detail::FailureSource {
 public:
  // Like throw_failure(), and throws what else the group has ended with.
  virtual void throw_if_failed() = 0;
  // An operation ended with an exception.
  virtual void fail(std::exception_ptr failure) = 0;
};

// The workers of a phase.
struct Budget {
  int standard = 1;
  int most = 1;
  std::string reason;  // why not more, fit to follow "at most 66"
};

// Where and how wide a phase runs.
struct Launch {
  detail::StreamBackend& stream;
  int workers = 1;
  std::shared_ptr<void> keep;  // what must live until the phase has run
};

// Each call enqueues and returns the point behind what it enqueued.
class Engine {
 public:
  // Both phases of an operation of one round, run as one.
  class Fused {
   public:
    virtual ~Fused() = default;
    virtual Event dispatch(const Launch& launch, const DispatchArgs& args) = 0;
    virtual Event combine(const Launch& launch, const CombineArgs& args) = 0;
  };

  // The operations of high throughput.
  class HighThroughput {
   public:
    virtual ~HighThroughput() = default;
    // Each throws kInvalidArgument for an operation that can't run here, before anything is sent.
    virtual void check(const LayoutArgs&) const {}
    virtual void check(const RowsDispatchArgs&) const {}
    virtual void check(const RowsCombineArgs&) const {}
    virtual Event layout(const Launch& launch, const LayoutArgs& args) = 0;
    virtual Event dispatch(const Launch& launch, const RowsDispatchArgs& args) = 0;
    virtual Event combine(const Launch& launch, const RowsCombineArgs& args) = 0;
  };

  virtual ~Engine() = default;

  virtual std::byte* local() const = 0;  // the local block, where the roles run (layout/local.hpp)
  // Memory that the host and the roles see, of as many bytes as were asked for.
  virtual std::byte* host_block() const { return nullptr; }
  // This rank's symmetric block.
  virtual std::byte* symmetric() const { return nullptr; }
  virtual const Budget& budget() const = 0;

  // Throws kInvalidArgument for an operation that can't run here, before anything of it is sent.
  virtual void check(const DispatchArgs&) const {}
  virtual void check(const CombineArgs&) const {}
  virtual void check(const detail::StreamBackend&) const {}  // of the engine's backend

  virtual Event dispatch_send(const Launch& launch, const DispatchArgs& args, int round) = 0;
  virtual Event dispatch_receive(const Launch& launch, const DispatchArgs& args, int round) = 0;
  virtual Event combine_send(const Launch& launch, const CombineArgs& args, int round) = 0;
  virtual Event combine_receive(const Launch& launch, const CombineArgs& args) = 0;
  // Null where phases are always apart.
  virtual Fused* fused() { return nullptr; }
  // Null where there is no high throughput.
  virtual HighThroughput* high_throughput() { return nullptr; }

  // What an operation has failed with, once one did.
  virtual std::optional<Failure> failure() const = 0;
  // This rank can't go on, for a reason of its own: its operations end, and its peers are told. Any
  // thread may call it.
  virtual void abandon() = 0;

  // The first top-k value that names no expert of those that operations met since the last one was
  // taken, where the host does not see the tables.
  virtual std::optional<machine::BadChoiceRecord> take_bad_choice() { return std::nullopt; }

  virtual Traffic dispatch_traffic() const = 0;
  virtual Traffic combine_traffic() const = 0;
};

}  // namespace braid::protocol
