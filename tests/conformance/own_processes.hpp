// A test program that is the launcher and each rank: started without RANK it starts itself once for
// each rank.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "braid/group.hpp"
#include "runtime/launch.hpp"

namespace braid::conformance {

bool is_rank();

// A rank's whole program. Prints what it throws; returns the exit code.
int run_rank(const GroupOptions& options, const std::function<void(Group&)>& part);

// By rank; what each printed is captured. The environment comes over what is there.
std::vector<ProcessResult> start_ranks(
    const Topology& topology,
    const std::vector<std::pair<std::string, std::string>>& environment = {});

}  // namespace braid::conformance
