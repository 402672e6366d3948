#include "support/reordering_transport/reordering_transport.hpp"

#include <chrono>
#include <string>

#include "runtime/group_backend.hpp"

namespace braid::testing {

ReorderingTransport::ReorderingTransport(std::shared_ptr<Transport> inner, std::uint64_t seed,
                                         SignalOrder order)
    : inner_(std::move(inner)), order_(order), random_(seed), thread_([this] { serve(); }) {}

ReorderingTransport::~ReorderingTransport() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void ReorderingTransport::put(const PutRequest& request) {
  Put put{request, std::vector<std::byte>(request.data, request.data + request.bytes)};
  put.request.data = put.copy.data();
  {
    const std::lock_guard lock(mutex_);
    ++outstanding_[{request.destination, request.operation}];
    puts_.push_back(std::move(put));  // moving a vector keeps its data where it is
  }
  changed_.notify_all();
}

void ReorderingTransport::signal(const SignalRequest& request) {
  {
    const std::lock_guard lock(mutex_);
    signals_.push_back(request);
  }
  changed_.notify_all();
}

void ReorderingTransport::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return puts_.empty() && signals_.empty() && !delivering_; });
}

void ReorderingTransport::serve() {
  std::unique_lock lock(mutex_);
  for (;;) {
    if (deliver_one(lock)) continue;
    if (ending_) return;
    // Let some gather first: there is nothing to reorder in a queue of one.
    changed_.wait(lock, [&] { return ending_ || !puts_.empty() || !signals_.empty(); });
    lock.unlock();
    std::this_thread::sleep_for(std::chrono::microseconds(50));
    lock.lock();
  }
}

bool ReorderingTransport::deliver_one(std::unique_lock<std::mutex>& lock) {
  std::vector<std::size_t> ready;
  for (std::size_t i = 0; i < signals_.size(); ++i) {
    const auto puts = outstanding_.find({signals_[i].destination, signals_[i].operation});
    if (order_ == SignalOrder::kAnyTime || puts == outstanding_.end()) ready.push_back(i);
  }
  const std::size_t choices = ready.size() + puts_.size();
  if (choices == 0) return false;
  const std::size_t choice = random_() % choices;
  delivering_ = true;
  if (choice < ready.size()) {
    const SignalRequest request = signals_[ready[choice]];
    signals_.erase(signals_.begin() + static_cast<std::ptrdiff_t>(ready[choice]));
    lock.unlock();
    inner_->signal(request);
    lock.lock();
  } else {
    std::swap(puts_[choice - ready.size()], puts_.back());
    const Put put = std::move(puts_.back());
    puts_.pop_back();
    lock.unlock();
    inner_->put(put.request);
    // Slow enough that a receiver looks while puts are still on their way.
    if (order_ == SignalOrder::kAnyTime) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
    lock.lock();
    const Key key{put.request.destination, put.request.operation};
    if (--outstanding_[key] == 0) outstanding_.erase(key);
  }
  delivering_ = false;
  changed_.notify_all();
  return true;
}

namespace {

class ReorderingGroup final : public detail::GroupBackend {
 public:
  ReorderingGroup(const Group& inner, std::uint64_t seed, SignalOrder order)
      : GroupBackend(inner.rank(), inner.topology(), inner.timeout_ms()),
        inner_(inner),
        seed_(seed),
        order_(order) {}

  std::vector<std::string> all_gather(const std::string& mine, const std::string& what) override {
    return inner_.backend().all_gather(mine, what);
  }
  SymmetricMemory allocate(std::size_t bytes) override {
    SymmetricMemory memory = inner_.backend().allocate(bytes);
    if (memory.transport) {
      memory.transport =
          std::make_shared<ReorderingTransport>(std::move(memory.transport), seed_++, order_);
    }
    return memory;
  }
  std::vector<int> dead_peers() noexcept override { return inner_.backend().dead_peers(); }

 private:
  Group inner_;
  std::uint64_t seed_;
  SignalOrder order_;
};

}  // namespace

Group with_reordering(const Group& group, std::uint64_t seed, SignalOrder order) {
  return Group(std::make_shared<ReorderingGroup>(group, seed, order));
}

}  // namespace braid::testing
