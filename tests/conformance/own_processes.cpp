#include "conformance/own_processes.hpp"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

namespace braid::conformance {

bool is_rank() { return std::getenv("RANK") != nullptr; }

int run_rank(const GroupOptions& options, const std::function<void(Group&)>& part) {
  try {
    Group group = Group::from_environment(options);
    part(group);
  } catch (const std::exception& error) {
    std::fputs(fmt::format("{}\n", error.what()).c_str(), stdout);
    return 1;
  }
  return 0;
}

std::vector<ProcessResult> start_ranks(
    const Topology& topology, const std::vector<std::pair<std::string, std::string>>& environment) {
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  LaunchOptions options;
  options.output = LaunchOptions::Output::kCapture;
  options.environment = environment;
  return run_processes(topology.num_ranks, topology.ranks_per_node, {self}, options);
}

}  // namespace braid::conformance
