#include "app/ranks.hpp"

#include <algorithm>
#include <exception>
#include <mutex>
#include <new>
#include <thread>
#include <utility>

#include "base/env.hpp"

namespace braid::app {
namespace {

GroupOptions group_options(const CommunicationOptions& options) {
  return {.timeout_ms = std::int64_t{1000} * options.timeout_seconds,
          .backend = options.backend,
          .devices = options.devices};
}

// Of a rank that is a process of its own: only its device.
GroupOptions own_group_options(const CommunicationOptions& options) {
  GroupOptions own = group_options(options);
  const int rank = read_environment().rank.value_or(0);
  if (rank >= 0 && rank < static_cast<int>(own.devices.size())) {
    own.devices = {own.devices[static_cast<std::size_t>(rank)]};
  }
  return own;
}

// 0: a cause; 1: a rank that waited for another; 2: a rank that was told of a failure.
int distance(const Failure& failure) {
  if (failure.code == ErrorCode::kPeerFailed) return 2;
  return failure.code == ErrorCode::kTimeout ? 1 : 0;
}

}  // namespace

Failure current_failure() {
  try {
    throw;
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {ErrorCode::kInternal, "there is not enough memory for this run"};
  } catch (const std::exception& error) {
    return {ErrorCode::kInternal, error.what()};
  }
}

Failure root_cause(const std::vector<Failure>& in_order_of_time) {
  return *std::min_element(
      in_order_of_time.begin(), in_order_of_time.end(),
      [](const Failure& a, const Failure& b) { return distance(a) < distance(b); });
}

std::vector<RankResult> run_as_threads(const CommunicationOptions& options, const RankWork& work) {
  std::vector<Group> groups = Group::threads(options.topology(), group_options(options));
  std::vector<RankResult> results(groups.size());
  std::mutex mutex;
  std::vector<Failure> failures;
  {
    std::vector<std::jthread> threads;
    for (std::size_t rank = 0; rank < groups.size(); ++rank) {
      threads.emplace_back([&, rank] {
        // The thread's own, so that it leaves the group when it ends: a rank that failed is then
        // not waited for where ranks meet.
        Group group = std::move(groups[rank]);
        try {
          results[rank] = work(group);
        } catch (...) {
          const Failure failure = current_failure();
          const std::lock_guard lock(mutex);
          failures.push_back(failure);
        }
      });
    }
  }
  if (!failures.empty()) {
    const Failure cause = root_cause(failures);
    throw Error(cause.code, cause.sentence);
  }
  return results;
}

std::optional<std::vector<RankResult>> run_as_this_rank(const CommunicationOptions& options,
                                                        const RankWork& work) {
  Group group = Group::from_environment(own_group_options(options));
  const std::vector<std::string> all = group.all_gather(serialize(work(group)));
  if (group.rank() != 0) return std::nullopt;
  std::vector<RankResult> results;
  for (const std::string& bytes : all) results.push_back(deserialize(bytes));
  return results;
}

}  // namespace braid::app
