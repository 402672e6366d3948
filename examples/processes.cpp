// Ranks as processes: `processes environment` under anything that sets RANK, WORLD_SIZE,
// MASTER_ADDR and MASTER_PORT for each process (torchrun does); alone it is a group of one.
#include <braid/buffer.hpp>
#include <braid/error.hpp>

#include <cstdio>
#include <string>
#include <vector>

namespace {

braid::Group join(bool from_environment) {
  if (from_environment) return braid::Group::from_environment();
  braid::GroupOptions options;
  options.timeout_ms = 5000;
  return braid::Group::connect(0, {1, 1}, "127.0.0.1", 29617, options);
}

}  // namespace

int main(int argc, char**) {
  try {
    braid::Group group = join(argc > 1);
    const std::vector<std::string> names = group.all_gather("rank " + std::to_string(group.rank()));
    group.barrier();
    group.check();
    if (group.rank() == 0) {
      std::printf("%zu ranks on %d nodes, a wait takes at most %lld ms\n", names.size(),
                  group.topology().num_nodes(), static_cast<long long>(group.timeout_ms()));
    }
    return names.back() == "rank " + std::to_string(group.topology().num_ranks - 1) ? 0 : 1;
  } catch (const braid::Error& error) {
    std::fprintf(stderr, "%s: %s\n", braid::to_string(error.code()), error.what());
    return 1;
  }
}
