#include "runtime/star.hpp"

#include <algorithm>
#include <cstring>

#include "base/check.hpp"
#include "runtime/group_backend.hpp"
#include "runtime/rendezvous.hpp"

namespace braid::detail {
namespace {

constexpr std::int64_t kTellMs = 200;  // a short frame to a socket that has room for it

// Texts and which of them come with a descriptor: (length, 0 or 1, bytes) for each rank.
std::string pack(const std::vector<Part>& parts) {
  std::string bytes;
  for (const Part& part : parts) {
    const std::uint64_t words[2] = {part.text.size(), part.descriptor.valid() ? 1U : 0U};
    bytes.append(reinterpret_cast<const char*>(words), sizeof(words));
    bytes += part.text;
  }
  return bytes;
}

// The parts' texts; with_descriptor: the ranks whose descriptors follow.
std::vector<Part> unpack(const std::string& bytes, std::vector<std::size_t>& with_descriptor) {
  std::vector<Part> parts;
  for (std::size_t at = 0; at < bytes.size();) {
    std::uint64_t words[2] = {};
    BRAID_CHECK(bytes.size() - at >= sizeof(words));
    std::memcpy(words, bytes.data() + at, sizeof(words));
    at += sizeof(words);
    BRAID_CHECK(bytes.size() - at >= words[0]);
    if (words[1] != 0) with_descriptor.push_back(parts.size());
    parts.push_back({bytes.substr(at, words[0]), {}});
    at += words[0];
  }
  return parts;
}

}  // namespace

Star::Star(int rank, int num_ranks, std::vector<Channel> channels, std::int64_t timeout_ms)
    : rank_(rank),
      num_ranks_(static_cast<std::size_t>(num_ranks)),
      channels_(std::move(channels)),
      timeout_ms_(timeout_ms) {}

std::vector<Part> Star::gather(Part mine, const std::string& what) {
  return gather(std::move(mine), what, Deadline::after_ms(timeout_ms_));
}

std::vector<Part> Star::gather(Part mine, const std::string& what, const Deadline& deadline) {
  require(mine.text.size() <= kMaxTextBytes / num_ranks_ - 16,
          "a text of {} bytes is too long for {} ranks to gather; {} is the most", mine.text.size(),
          num_ranks_, kMaxTextBytes / num_ranks_ - 16);
  ++call_;
  const Call call{what, deadline};
  return rank_ == 0 ? collect(std::move(mine), call) : contribute(std::move(mine), call);
}

std::vector<Part> Star::collect(Part mine, const Call& call) {
  Arrivals arrivals{std::vector<Part>(num_ranks_), std::vector<bool>(num_ranks_, false)};
  arrivals.parts[0] = std::move(mine);
  arrivals.came[0] = true;
  for (;;) {
    for (std::size_t rank = 1; rank < num_ranks_; ++rank) take_in(rank, arrivals, call);
    if (arrivals.complete()) break;
    if (arrivals.impatient) end_for_absent(arrivals, call);
    std::vector<pollfd> polls;
    for (std::size_t rank = 1; rank < num_ranks_; ++rank) {
      polls.push_back({channels_[rank].fd(), POLLIN, 0});
    }
    if (!poll_until(polls, call.deadline)) end_for_absent(arrivals, call);
  }
  distribute(arrivals.parts, call);
  return std::move(arrivals.parts);
}

// What a rank sent. Ends the call when the rank ended: also one whose part came, since no rank
// leaves properly before it has the result.
void Star::take_in(std::size_t rank, Arrivals& arrivals, const Call& call) {
  const bool open = channels_[rank].receive();
  while (auto frame = channels_[rank].take()) {
    if (frame->call != call_) continue;  // impatience about a call whose result crossed it
    if (frame->type == FrameType::kContribution) {
      arrivals.parts[rank] = {std::move(frame->text), std::move(frame->descriptor)};
      arrivals.came[rank] = true;
    } else if (frame->type == FrameType::kImpatient) {
      arrivals.impatient = true;
    }
  }
  if (!open) {
    end(ErrorCode::kPeerFailed,
        fmt::format("rank {} ended or left the group during {}", rank, call.what));
  }
}

bool Star::Arrivals::complete() const {
  return std::find(came.begin(), came.end(), false) == came.end();
}

void Star::end_for_absent(const Arrivals& arrivals, const Call& call) {
  std::vector<int> absent;
  for (std::size_t rank = 0; rank < num_ranks_; ++rank) {
    if (!arrivals.came[rank]) absent.push_back(static_cast<int>(rank));
  }
  end(ErrorCode::kTimeout, fmt::format("{} did not come to {} within {} ms", name_ranks(absent),
                                       call.what, timeout_ms_));
}

void Star::distribute(const std::vector<Part>& parts, const Call& call) {
  const std::string text = pack(parts);
  // A second or so at least: everyone is here, and only has to read.
  const Deadline deadline = Deadline::after_ms(std::max<std::int64_t>(timeout_ms_, 1000));
  const auto send = [&](std::size_t rank, const Outgoing& frame) {
    const SendResult sent = channels_[rank].send(frame, deadline);
    if (sent == SendResult::kSent) return;
    end(sent == SendResult::kEnded ? ErrorCode::kPeerFailed : ErrorCode::kTimeout,
        fmt::format("rank {} {} during {}", rank,
                    sent == SendResult::kEnded ? "ended or left the group" : "stopped reading",
                    call.what));
  };
  for (std::size_t rank = 1; rank < num_ranks_; ++rank) {
    send(rank, {FrameType::kResult, call_, text});
    for (const Part& part : parts) {
      if (part.descriptor.valid()) {
        send(rank, {FrameType::kDescriptor, call_, "", part.descriptor.get()});
      }
    }
  }
}

std::vector<Part> Star::contribute(Part mine, const Call& call) {
  // Whether it was sent shows in the answer: a failure may be waiting there that says more.
  channels_[0].send({FrameType::kContribution, call_, mine.text, mine.descriptor.get()},
                    call.deadline);
  std::vector<std::size_t> with_descriptor;
  std::vector<Part> parts = unpack(next(call).text, with_descriptor);
  for (const std::size_t rank : with_descriptor) parts[rank].descriptor = next(call).descriptor;
  BRAID_CHECK(parts.size() == num_ranks_);
  return parts;
}

// The next frame of this call's result.
Frame Star::next(const Call& call) {
  // Rank 0 answers an impatient rank at once, unless it is itself the one that did not come.
  const std::int64_t grace_ms = std::clamp<std::int64_t>(timeout_ms_ / 4, 250, 2000);
  Deadline deadline = call.deadline;
  for (bool impatient = false;;) {
    const bool open = channels_[0].receive();
    while (auto frame = channels_[0].take()) {
      if (frame->type == FrameType::kFailure) {
        channels_.clear();
        throw_failure(frame->text);
      }
      if (frame->call == call_) return std::move(*frame);
    }
    if (!open) {
      end(ErrorCode::kPeerFailed,
          fmt::format("rank 0 ended or left the group during {}", call.what));
    }
    if (poll_one(channels_[0].fd(), POLLIN, deadline)) continue;
    if (impatient) {
      end(ErrorCode::kTimeout,
          fmt::format("rank 0 did not come to {} within {} ms", call.what, timeout_ms_));
    }
    impatient = true;
    deadline = Deadline::after_ms(grace_ms);
    channels_[0].send({FrameType::kImpatient, call_, ""}, deadline);
  }
}

void Star::end(ErrorCode code, const std::string& sentence) {
  const std::string text = failure_text(code, sentence);
  for (Channel& channel : channels_) {
    if (rank_ == 0 && channel.valid()) {
      channel.send({FrameType::kFailure, 0, text}, Deadline::after_ms(kTellMs));
    }
    channel.close();
  }
  channels_.clear();
  throw Error(code, sentence);
}

}  // namespace braid::detail
