#include "runtime/buffer_core.hpp"

#include "base/check.hpp"
#include "machine/bad_choice.hpp"
#include "runtime/group_backend.hpp"

namespace braid::detail {
namespace {

const char* name_of(machine::Operation operation) {
  switch (operation) {
    case machine::Operation::kNone: break;
    case machine::Operation::kDispatchSend: return "dispatch send";
    case machine::Operation::kDispatchReceive: return "dispatch receive";
    case machine::Operation::kCombineSend: return "combine send";
    case machine::Operation::kCombineReceive: return "combine receive";
    case machine::Operation::kLayout: return "layout";
    case machine::Operation::kDispatch: return "dispatch";
    case machine::Operation::kCombine: return "combine";
  }
  return "operation";
}

// Who did not do what, within what time.
std::string missed(const protocol::Failure& failure, std::int64_t timeout_ms) {
  const double seconds = static_cast<double>(timeout_ms) / 1000.0;
  if (failure.tag.is_of_block()) {
    return fmt::format("block {} of rank {}'s local expert {} was not signaled within {:.1f} s",
                       failure.tag.block, failure.tag.peer, failure.tag.expert, seconds);
  }
  if (failure.peer_ended) {
    return fmt::format("rank {} ended before it answered rank {}", failure.tag.peer,
                       failure.reporter);
  }
  return fmt::format("rank {} did not answer rank {} within {:.1f} s", failure.tag.peer,
                     failure.reporter, seconds);
}

// What was waited for. Only the reporter knows what it saw.
std::string expectation(const protocol::Failure& failure, bool own) {
  const std::uint32_t seen = layout::epoch_of(failure.seen);
  if (failure.tag.is_of_block()) {
    return fmt::format("expected signal {}{}", failure.expected_epoch,
                       own ? fmt::format(", saw {}", static_cast<std::int32_t>(seen)) : "");
  }
  return fmt::format(
      "expected epoch {}{}", failure.expected_epoch,
      own ? fmt::format(", saw epoch {} with value {}", seen, layout::value_of(failure.seen)) : "");
}

constexpr std::uint64_t kMostOperations = (std::uint64_t{1} << 32) - 2;

}  // namespace

void check_agreement(Group& group, const NamedValues& options) {
  std::string text;
  for (const auto& [name, value] : options) text += value + "\n";
  const auto all = group.all_gather(text);
  for (std::size_t rank = 0; rank < all.size(); ++rank) {
    std::size_t at = 0;
    for (const auto& [name, value] : options) {
      const std::size_t end = all[rank].find('\n', at);
      const std::string theirs = all[rank].substr(at, end - at);
      require(theirs == value, "buffer option {} is {} on rank {}, but {} on rank {}", name, value,
              group.rank(), theirs, rank);
      at = end + 1;
    }
  }
}

void BufferCore::watch() {
  // On the CPU a failure reaches stream and group by itself, as the operation's exception.
  if (group.backend().device().kind() != Backend::kCpu) group.backend().watch(weak_from_this());
}

void BufferCore::check_epochs(std::uint64_t num_operations, const std::string& name) const {
  if (num_operations < kMostOperations) return;
  braid::fail(ErrorCode::kRefused,
              "{} is refused: the buffer has done its {} operations; make a new one", name,
              kMostOperations);
}

void BufferCore::check_stream(const Stream& stream) const {
  require(stream.valid(), "the stream is empty; Group::make_stream() makes one");
  const Backend here = group.backend_kind();
  require(
      stream.backend()->kind() == here,
      "the stream is of backend {}, but the buffer's group is of {}; Group::make_stream() makes "
      "one",
      to_string(stream.backend()->kind()), to_string(here));
  engine->check(*stream.backend());
}

void BufferCore::throw_if_failed() {
  throw_failure();
  group.backend().check();
}

void BufferCore::fail(std::exception_ptr failure) { group.backend().fail(std::move(failure)); }

void BufferCore::throw_bad_input() {
  const auto bad = engine->take_bad_choice();
  if (!bad) return;
  braid::fail(ErrorCode::kInvalidArgument, "{}: {}", topk_reader,
              machine::sentence_of(*bad, num_experts));
}

void BufferCore::throw_failure() {
  const std::optional<protocol::Failure> failed = engine->failure();
  if (!failed) return;
  const protocol::Failure& failure = *failed;
  const bool own = failure.reporter == group.rank();
  if (failure.tag.peer == failure.reporter && !failure.tag.is_of_block()) {
    const std::string text =
        own ? fmt::format("rank {}'s own operations failed", group.rank())
            : fmt::format(
                  "rank {} ended its operations because rank {} reported that its own "
                  "operations failed",
                  group.rank(), failure.reporter);
    const Error error(ErrorCode::kPeerFailed, text);
    fail(std::make_exception_ptr(error));
    throw error;
  }
  const std::string wait =
      fmt::format("{} in {}, round {} ({})", missed(failure, group.timeout_ms()),
                  name_of(failure.tag.operation), failure.tag.round, expectation(failure, own));
  const std::string text =
      own ? wait
          : fmt::format("rank {} ended its operations because rank {} reported: {}", group.rank(),
                        failure.reporter, wait);
  const Error error(own && !failure.peer_ended ? ErrorCode::kTimeout : ErrorCode::kPeerFailed,
                    text);
  fail(std::make_exception_ptr(error));
  throw error;
}

}  // namespace braid::detail
