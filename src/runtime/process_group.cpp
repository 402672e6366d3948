#include "runtime/process_group.hpp"

#include <fcntl.h>
#include <sys/random.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "backend/cpu/shared_memory.hpp"
#include "base/check.hpp"
#include "runtime/blocks.hpp"
#include "runtime/devices.hpp"

namespace braid::detail {
namespace {

// 128 random bits in hexadecimal.
std::string random_text() {
  std::array<std::uint64_t, 2> words{};
  auto* const bytes = reinterpret_cast<char*>(words.data());
  for (std::size_t filled = 0; filled < sizeof(words);) {
    const ssize_t count = getrandom(bytes + filled, sizeof(words) - filled, 0);
    if (count > 0) filled += static_cast<std::size_t>(count);
    if (count < 0 && errno != EINTR) {
      fail(ErrorCode::kMissing, "no random numbers: {}", std::strerror(errno));
    }
  }
  return fmt::format("{:016x}{:016x}", words[0], words[1]);
}

// The local connections that wait at the listener, by rank. All have come and said their hello
// before: this does not wait. Whoever does not know the secret is dropped.
std::vector<Channel> take_local_channels(const Descriptor& listener, int num_ranks,
                                         const std::string& secret) {
  std::vector<Channel> channels(static_cast<std::size_t>(num_ranks));
  for (;;) {
    Channel channel(accept_waiting(listener));
    if (!channel.valid()) break;
    channel.receive();
    const auto frame = channel.take();
    Hello hello;
    if (!frame || frame->type != FrameType::kHello || !from_text(frame->text, hello) ||
        hello.secret != secret || hello.rank < 1 || hello.rank >= num_ranks) {
      continue;
    }
    channel.set_max_text_bytes(kMaxTextBytes);
    channels[static_cast<std::size_t>(hello.rank)] = std::move(channel);
  }
  for (std::size_t rank = 1; rank < channels.size(); ++rank) BRAID_CHECK(channels[rank].valid());
  return channels;
}

}  // namespace

ProcessGroup::ProcessGroup(const Meeting& meeting, std::shared_ptr<DeviceBackend> device)
    : GroupBackend(meeting.rank, meeting.topology, meeting.timeout_ms, std::move(device)) {
  meet(meeting, Deadline::after_ms(meeting.timeout_ms));
}

void ProcessGroup::meet(const Meeting& meeting, const Deadline& deadline) {
  const int num_ranks = meeting.topology.num_ranks;
  std::vector<Channel> channels;
  if (num_ranks > 1 && rank() == 0) channels = admit_all(meeting, deadline);
  if (num_ranks > 1 && rank() != 0) channels.push_back(join(meeting, deadline));
  star_.emplace(rank(), num_ranks, std::move(channels), timeout_ms());

  // The local star. Its name is public on this host, so that a secret travels beside it.
  std::string name;
  std::string secret;
  Descriptor listener;
  if (rank() == 0) {
    name = "braid-" + random_text();
    secret = random_text();
    listener = listen_local(name, num_ranks);
  }
  const std::vector<Part> all = star_->gather({name + " " + secret, {}}, "set-up", deadline);
  std::vector<Channel> local_channels;
  if (rank() != 0) {
    const std::string& text = all[0].text;
    const std::string hello =
        to_text({kProtocolVersion, rank(), meeting.topology, text.substr(text.find(' ') + 1)});
    Channel& channel = local_channels.emplace_back(connect_local(text.substr(0, text.find(' '))));
    channel.set_max_text_bytes(kMaxTextBytes);
    channel.send({FrameType::kHello, 0, hello}, deadline);
  }
  star_->gather({}, "set-up", deadline);  // now every hello is there
  if (rank() == 0) local_channels = take_local_channels(listener, num_ranks, secret);
  local_star_.emplace(rank(), num_ranks, std::move(local_channels), timeout_ms());

  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    braid::fail(ErrorCode::kMissing, "can't open a pipe: {}", std::strerror(errno));
  }
  Descriptor read_end(ends[0]);
  alive_ = Descriptor(ends[1]);
  auto pipes = local_star_->gather({"", std::move(read_end)}, "set-up", deadline);
  for (Part& part : pipes) peers_alive_.push_back(std::move(part.descriptor));
}

std::vector<Part> ProcessGroup::gather(Star& star, Part mine, const std::string& what) {
  try {
    return star.gather(std::move(mine), what);
  } catch (const Error& error) {
    if (error.code() != ErrorCode::kInvalidArgument) fail(std::current_exception());
    throw;
  }
}

std::vector<std::string> ProcessGroup::all_gather(const std::string& mine,
                                                  const std::string& what) {
  const std::lock_guard lock(mutex_);
  check();
  std::vector<std::string> texts;
  for (Part& part : gather(*star_, {mine, {}}, what)) texts.push_back(std::move(part.text));
  return texts;
}

SymmetricMemory ProcessGroup::allocate(std::size_t bytes) {
  require_same_bytes(all_gather(std::to_string(bytes), "allocate"));
  return device().kind() == Backend::kCpu ? allocate_on_cpu(bytes)
                                          : allocate_between_processes(*this, bytes);
}

SymmetricMemory ProcessGroup::allocate_on_cpu(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  Part mine;
  try {
    mine.descriptor = Descriptor(cpu::create_shared_memory(bytes));
  } catch (const Error& error) {
    mine.text = error.what();  // told, so that the others need not wait for the block
  }
  std::vector<Part> parts = gather(*local_star_, std::move(mine), "allocate");
  std::vector<std::string> trouble;
  for (const Part& part : parts) trouble.push_back(part.text);
  require_no_trouble(trouble);

  Blocks blocks;
  std::string mine_went_wrong;
  try {
    for (const Part& part : parts) {
      blocks.push_back(cpu::MappedBlock::shared(part.descriptor.get(), bytes));
    }
  } catch (const Error& error) {
    mine_went_wrong = error.what();
  }
  trouble.clear();
  for (Part& part : gather(*star_, {mine_went_wrong, {}}, "allocate")) {
    trouble.push_back(std::move(part.text));
  }
  require_no_trouble(trouble);
  return make_symmetric_memory(rank(), topology(), std::move(blocks), bytes);
}

std::vector<int> ProcessGroup::dead_peers() noexcept {
  try {
    std::vector<pollfd> polls;
    for (const Descriptor& pipe : peers_alive_) polls.push_back({pipe.get(), 0, 0});
    poll_until(polls, Deadline::after_ms(0));
    std::vector<int> dead;
    for (std::size_t peer = 0; peer < polls.size(); ++peer) {
      if ((polls[peer].revents & POLLHUP) != 0) dead.push_back(static_cast<int>(peer));
    }
    return dead;
  } catch (...) {
    return {};  // no memory for the list
  }
}

}  // namespace braid::detail
