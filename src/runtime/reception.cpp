#include "base/check.hpp"
#include "runtime/group_backend.hpp"
#include "runtime/rendezvous.hpp"

namespace braid::detail {
namespace {

constexpr std::int64_t kHelloMs = 2000;  // a rank says it right after connecting
constexpr std::int64_t kTellMs = 200;    // a short frame to a socket that has room for it
constexpr std::size_t kMaxStrangers = 1024;

std::string wrong_group(const Hello& hello, const Topology& topology) {
  if (hello.version != kProtocolVersion) {
    return fmt::format(
        "rank {} speaks version {} of the rendezvous, but rank 0 version {}; all processes must "
        "run the same build",
        hello.rank, hello.version, kProtocolVersion);
  }
  if (hello.topology != topology) {
    return fmt::format(
        "rank {} was started for {} ranks with {} per node, but rank 0 for {} with {} per node",
        hello.rank, hello.topology.num_ranks, hello.topology.ranks_per_node, topology.num_ranks,
        topology.ranks_per_node);
  }
  if (hello.rank < 1 || hello.rank >= topology.num_ranks) {
    return fmt::format("a process came as rank {}, but must be one of 1 to {}", hello.rank,
                       topology.num_ranks - 1);
  }
  return "";
}

// Rank 0's side, while it waits for the others.
class Reception {
 public:
  Reception(const Meeting& meeting, const Deadline& deadline)
      : meeting_(meeting),
        deadline_(deadline),
        listener_(listen_tcp(meeting.address, meeting.port, deadline)),
        ranks_(static_cast<std::size_t>(meeting.topology.num_ranks)) {}

  std::vector<Channel> run() {
    while (!absent().empty()) {
      wait();
      greet();
      listen_to_strangers();
      listen_to_ranks();
    }
    return std::move(ranks_);
  }

 private:
  struct Stranger {
    Channel channel;
    Deadline patience;
  };

  std::vector<int> absent() const;
  void wait();
  void greet();
  void listen_to_strangers();
  void listen_to_ranks();
  void judge(Channel& channel, const Frame& frame);
  [[noreturn]] void end(ErrorCode code, const std::string& sentence);
  [[noreturn]] void end_for_absent();

  const Meeting& meeting_;
  Deadline deadline_;
  Descriptor listener_;
  std::vector<Channel> ranks_;
  std::vector<Stranger> strangers_;
};

std::vector<int> Reception::absent() const {
  std::vector<int> ranks;
  for (std::size_t rank = 1; rank < ranks_.size(); ++rank) {
    if (!ranks_[rank].valid()) ranks.push_back(static_cast<int>(rank));
  }
  return ranks;
}

void Reception::wait() {
  if (deadline_.passed()) end_for_absent();
  std::vector<pollfd> polls{{listener_.get(), POLLIN, 0}};
  Deadline until = deadline_;
  for (const Stranger& stranger : strangers_) {
    polls.push_back({stranger.channel.fd(), POLLIN, 0});
    until = earlier(until, stranger.patience);
  }
  for (const Channel& channel : ranks_) {
    if (channel.valid()) polls.push_back({channel.fd(), POLLIN, 0});
  }
  poll_until(polls, until);
}

void Reception::greet() {
  for (;;) {
    Descriptor fd = accept_waiting(listener_);
    if (!fd.valid()) return;
    if (strangers_.size() == kMaxStrangers) strangers_.erase(strangers_.begin());
    strangers_.push_back({Channel(std::move(fd)), Deadline::after_ms(kHelloMs)});
  }
}

void Reception::listen_to_strangers() {
  std::vector<Stranger> still;
  for (Stranger& stranger : strangers_) {
    const bool open = stranger.channel.receive();
    const auto frame = stranger.channel.take();
    if (frame) {
      judge(stranger.channel, *frame);
    } else if (open && !stranger.patience.passed()) {
      still.push_back(std::move(stranger));
    }
  }
  strangers_ = std::move(still);
}

// Makes a stranger a rank, or ends the set-up when it is a rank that must not be here.
void Reception::judge(Channel& channel, const Frame& frame) {
  Hello hello;
  if (frame.type != FrameType::kHello || !from_text(frame.text, hello)) return;
  std::string refusal = wrong_group(hello, meeting_.topology);
  if (refusal.empty() && ranks_[static_cast<std::size_t>(hello.rank)].valid()) {
    refusal = fmt::format("rank {} came twice to {}; every process needs a RANK of its own",
                          hello.rank, place_of(meeting_.address, meeting_.port));
  }
  const Deadline soon = earlier(deadline_, Deadline::after_ms(kTellMs));
  if (!refusal.empty()) {
    const std::string text = failure_text(ErrorCode::kInvalidArgument, refusal);
    channel.send({FrameType::kRefuse, 0, text}, soon);
    channel.close();
    end(ErrorCode::kInvalidArgument, refusal);
  }
  // Where this fails, the rank connects and asks again.
  if (channel.send({FrameType::kAccept, 0, ""}, soon) != SendResult::kSent) return;
  channel.set_max_text_bytes(kMaxTextBytes);
  ranks_[static_cast<std::size_t>(hello.rank)] = std::move(channel);
}

void Reception::listen_to_ranks() {
  for (std::size_t rank = 1; rank < ranks_.size(); ++rank) {
    if (!ranks_[rank].valid()) continue;
    if (!ranks_[rank].receive()) {
      ranks_[rank] = Channel();
      end(ErrorCode::kPeerFailed, fmt::format("rank {} ended during set-up", rank));
    }
    // It started earlier than we did, and its time is up.
    if (ranks_[rank].holds(FrameType::kImpatient)) end_for_absent();
  }
}

void Reception::end_for_absent() {
  end(ErrorCode::kTimeout,
      fmt::format("{} did not arrive at {} within {} ms", name_ranks(absent()),
                  place_of(meeting_.address, meeting_.port), meeting_.timeout_ms));
}

void Reception::end(ErrorCode code, const std::string& sentence) {
  // First: a rank that is told may build its next group at once, and must not find this listener.
  listener_.reset();
  strangers_.clear();
  // It is the argument of one rank that is wrong, not of all.
  const std::string text =
      failure_text(code == ErrorCode::kInvalidArgument ? ErrorCode::kPeerFailed : code, sentence);
  for (Channel& channel : ranks_) {
    if (channel.valid()) channel.send({FrameType::kFailure, 0, text}, Deadline::after_ms(kTellMs));
    channel.close();
  }
  throw Error(code, sentence);
}

}  // namespace

std::vector<Channel> admit_all(const Meeting& meeting, const Deadline& deadline) {
  return Reception(meeting, deadline).run();
}

}  // namespace braid::detail
