// What a buffer will take, before it is made; and how Braid says no.
#include <braid/buffer.hpp>
#include <braid/error.hpp>

#include <cstdio>

int main() {
  const braid::Topology topology{16, 8};
  braid::validate(topology);
  braid::BufferOptions options;
  options.num_experts = 256;
  options.max_tokens = 128;
  options.hidden = 7168;
  options.top_k = 8;
  options.widest_dispatch = braid::parse_dispatch_format("fp8");
  const braid::MemoryPlan plan = braid::Buffer::plan(topology, options);
  for (const braid::MemoryRegion& region : plan.symmetric) {
    std::printf("%12llu %12llu  %-16s %s\n", static_cast<unsigned long long>(region.offset),
                static_cast<unsigned long long>(region.bytes), region.name.c_str(),
                region.purpose.c_str());
  }
  std::printf("%llu bytes that peers write into, %llu of this rank's own, on rail %d of node %d\n",
              static_cast<unsigned long long>(plan.symmetric_bytes),
              static_cast<unsigned long long>(plan.local_bytes), topology.rail_of(11),
              topology.node_of(11));

  options.num_experts = 250;
  try {
    braid::Buffer::plan(topology, options);
  } catch (const braid::Error& error) {
    std::printf("refused: %s\n", error.what());
    return error.code() == braid::ErrorCode::kInvalidArgument ? 0 : 1;
  }
  return 1;
}
