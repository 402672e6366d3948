// A command's ranks: threads of this process, or processes that run the same command line.
#pragma once

#include <functional>
#include <vector>

#include "app/ranks.hpp"
#include "cli/commands.hpp"

namespace braid::cli {

// Runs `work` as every rank and hands all results to `report`, once; returns its exit status.
// Throws the failure that the ranks' failures follow from.
//
// With processes, this one starts them and waits: each runs `line` with one option more, comes
// here in turn, and the process that is rank 0 reports.
using Report = std::function<int(const std::vector<app::RankResult>&)>;
int execute_ranks(const app::CommunicationOptions& options, const CommandLine& line,
                  const app::RankWork& work, const Report& report);

}  // namespace braid::cli
