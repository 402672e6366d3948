// Running the same work as every rank.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "app/options.hpp"
#include "app/rank_result.hpp"
#include "braid/error.hpp"
#include "braid/group.hpp"

namespace braid::app {

using RankWork = std::function<RankResult(Group&)>;

// Every rank a thread of this process. Returns all results in rank order when all have ended;
// throws the failure that the others follow from, where one or more failed.
std::vector<RankResult> run_as_threads(const CommunicationOptions& options, const RankWork& work);

// This process is one rank, as the environment says (Group::from_environment). Returns all
// results on rank 0, nothing on the others.
std::optional<std::vector<RankResult>> run_as_this_rank(const CommunicationOptions& options,
                                                        const RankWork& work);

// Which of the ranks' failures the others follow from: the first that is neither a time-out nor a
// report of another rank's failure, else the first time-out, else the first.
struct Failure {
  ErrorCode code = ErrorCode::kInternal;
  std::string sentence;
};
Failure root_cause(const std::vector<Failure>& in_order_of_time);

// The exception being handled, as a Failure. Call it in a catch block.
Failure current_failure();

}  // namespace braid::app
