// Dispatch and combine between two ranks as kernels, timed by graph replays: a line of JSON for
// each figure.
//
//   role_bench [--replays N] [--only TEXT]
//
// Rank r is on device r, or on the only one. Inputs, outputs and experts' rows rotate over more
// memory than the second-level cache holds. Every variant is held against the CPU machine first.
#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>

#include "backend/cuda/block_kernels.hpp"
#include "backend/cuda/generic_kernels.hpp"
#include "backend/cuda/launch.hpp"
#include "base/check.hpp"
#include "gpu/gpu_ranks.hpp"
#include "gpu/test_kernels.hpp"

namespace braid::gpu_test {
namespace {

using cuda::check;

constexpr int kRanks = 2;
constexpr std::int64_t kTimeoutNs = 2'000'000'000;

struct Settings {
  int replays = 100;
  int num_devices = 1;
  int num_sms = 132;
  std::string gpu, only;
};

struct Work {
  cuda::DispatchKernelArgs dispatch;
  cuda::CombineKernelArgs combine;
};

struct Variant {
  std::string name;
  std::function<void(const Work&, cudaStream_t)> launch;
  bool dispatches = false, combines = false;
};

double percentile(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  return values[static_cast<std::size_t>(fraction * static_cast<double>(values.size() - 1))];
}

class RoleBench {
 public:
  RoleBench(const Settings& settings, const CaseShape& shape, int sets)
      : settings_(settings),
        shape_(shape),
        sets_(sets),
        workers_(settings.num_devices > 1 ? settings.num_sms : settings.num_sms / kRanks),
        ranks_(with_slots(shape, sets), workers_, kTimeoutNs, settings.num_devices) {
    for (int rank = 0; rank < kRanks; ++rank) {
      check(cudaSetDevice(ranks_.device(rank)), "cudaSetDevice");
      check(cudaStreamCreateWithFlags(&streams_[rank], cudaStreamNonBlocking), "cudaStreamCreate");
    }
    const std::vector<std::uint16_t> rows[kRanks] = {expert_rows(shape_, 0),
                                                     expert_rows(shape_, 1)};
    for (int set = 0; set < sets_; ++set) {
      CaseShape now = with_slots(shape_, sets_);
      now.seed = static_cast<std::uint32_t>(set) + 1;
      const auto inputs = make_inputs(now);
      if (set == 0) inputs_ = inputs;
      for (int rank = 0; rank < kRanks; ++rank) {
        auto operation = std::make_unique<GpuOperation>(now, inputs[static_cast<std::size_t>(rank)],
                                                        ranks_.device(rank));
        if (set == 0) {
          operation->give_rows(rows[rank].data());
        } else {
          operation->give_rows_of(*operations_[static_cast<std::size_t>(rank)]);
        }
        Work work{ranks_.args(rank), ranks_.combine_args(rank)};
        work.dispatch.dispatch.op.handle_slot = work.combine.combine.op.handle_slot = set;
        operation->bind(work.dispatch.dispatch);
        operation->bind(work.combine.combine);
        work_.push_back(work);
        operations_.push_back(std::move(operation));
      }
    }
    CaseShape first = shape_;
    expected_ = reference(first, inputs_, {rows[0].data(), rows[1].data()});
    first.at_expert_rank = false;
    by_token_ = reference(first, inputs_, {rows[0].data(), rows[1].data()});
  }
  ~RoleBench() {
    for (cudaStream_t stream : streams_) cudaStreamDestroy(stream);
  }
  RoleBench(const RoleBench&) = delete;
  RoleBench& operator=(const RoleBench&) = delete;

  int workers() const { return workers_; }

  void run(const Variant& variant) {
    if (variant.name.find(settings_.only) == std::string::npos) return;
    try {
      for (int i = 0; i < 3; ++i) verify(variant);
      const std::vector<double> times = time(variant);
      fmt::print(
          R"({{"bench": "roles", "gpu": "{}", "devices": {}, "ranks": {}, "tokens": {}, "experts": {}, )"
          R"("variant": "{}", "p50_us": {:.2f}, "p99_us": {:.2f}, "min_us": {:.2f}}})"
          "\n",
          settings_.gpu, settings_.num_devices, kRanks, shape_.num_tokens, shape_.num_experts,
          variant.name, percentile(times, 0.5), percentile(times, 0.99), percentile(times, 0.0));
    } catch (const Error& error) {
      fmt::print("{{\"failed\": \"{} tokens, {} experts, {}: {}\"}}\n", shape_.num_tokens,
                 shape_.num_experts, variant.name, error.what());
      if (error.code() == ErrorCode::kTimeout) throw;
    }
    std::fflush(stdout);
  }

 private:
  static CaseShape with_slots(CaseShape shape, int sets) {
    shape.handle_slots = sets;
    return shape;
  }

  // What the first set's operations leave.
  void verify(const Variant& variant) {
    for (int rank = 0; rank < kRanks; ++rank) {
      check(cudaSetDevice(ranks_.device(rank)), "cudaSetDevice");
      if (variant.dispatches) operations_[static_cast<std::size_t>(rank)]->poison();
      check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    }
    for (int rank = 0; rank < kRanks; ++rank) {
      check(cudaSetDevice(ranks_.device(rank)), "cudaSetDevice");
      variant.launch(work_[static_cast<std::size_t>(rank)], streams_[rank]);
    }
    synchronize(variant.name);
    for (int rank = 0; rank < kRanks; ++rank) {
      const auto at = static_cast<std::size_t>(rank);
      const RankOutput got = operations_[at]->output(ranks_, rank);
      if (variant.dispatches) {
        const std::string found = difference(with_slots(shape_, sets_), got, grown(rank));
        if (!found.empty()) fail(ErrorCode::kInternal, "rank {}: {}", rank, found);
      }
      const bool by_token = variant.name.find("token_rank") != std::string::npos;
      if (variant.combines &&
          operations_[at]->combined() != (by_token ? by_token_ : expected_)[at].combined) {
        fail(ErrorCode::kInternal, "rank {}: the combined tokens are not the CPU machine's", rank);
      }
    }
  }

  // The reference's local block, as large as one with all handle slots.
  RankOutput grown(int rank) const {
    RankOutput output = expected_[static_cast<std::size_t>(rank)];
    CaseShape one = shape_;
    one.handle_slots = 1;
    const auto from = layout::LocalMap::of(one.buffer());
    const auto to = layout::LocalMap::of(with_slots(shape_, sets_).buffer());
    std::vector<std::byte> local(static_cast<std::size_t>(to.total_bytes));
    std::copy_n(output.local.begin() + from.record(0), sizeof(layout::HandleRecord),
                local.begin() + to.record(0));
    std::copy_n(output.local.begin() + from.expert_count(0, 0), from.handle_bytes,
                local.begin() + to.expert_count(0, 0));
    output.local = std::move(local);
    return output;
  }

  // Microseconds of one operation: the slower rank's, replay by replay.
  std::vector<double> time(const Variant& variant) {
    const int passes = std::max(1, 48 / sets_);  // so that the ranks' start counts for little
    std::vector<double> times[kRanks];
    std::atomic<int> ready{0};
    std::atomic<bool> failed{false};
    std::vector<std::thread> threads;
    for (int rank = 0; rank < kRanks; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          times[rank] = time_rank(variant, rank, passes, ready);
        } catch (const Error& error) {
          fmt::print("{{\"failed\": \"{}\"}}\n", error.what());
          failed = true;
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    if (failed) fail(ErrorCode::kTimeout, "{} could not be timed", variant.name);
    synchronize(variant.name);
    for (std::size_t i = 0; i < times[0].size(); ++i) {
      times[0][i] = std::max(times[0][i], times[1][i]);
    }
    return times[0];
  }

  std::vector<double> time_rank(const Variant& variant, int rank, int passes,
                                std::atomic<int>& ready) {
    check(cudaSetDevice(ranks_.device(rank)), "cudaSetDevice");
    cudaStream_t stream = streams_[rank];
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t executable = nullptr;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "BeginCapture");
    for (int i = 0; i < passes * sets_; ++i) {
      variant.launch(work_[static_cast<std::size_t>(i % sets_ * kRanks + rank)], stream);
    }
    check(cudaStreamEndCapture(stream, &graph), "cudaStreamEndCapture");
    check(cudaGraphInstantiate(&executable, graph, 0), "cudaGraphInstantiate");
    check(cudaGraphUpload(executable, stream), "cudaGraphUpload");
    check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
    cudaEvent_t begin = nullptr, end = nullptr;
    check(cudaEventCreate(&begin), "cudaEventCreate");
    check(cudaEventCreate(&end), "cudaEventCreate");
    std::vector<double> times;
    for (int replay = -10; replay < settings_.replays; ++replay) {
      // Both ranks launch at the same time.
      ++ready;
      while (ready.load() < kRanks * (replay + 11)) {
      }
      check(cudaEventRecord(begin, stream), "cudaEventRecord");
      check(cudaGraphLaunch(executable, stream), "cudaGraphLaunch");
      check(cudaEventRecord(end, stream), "cudaEventRecord");
      check(cudaStreamSynchronize(stream), "cudaStreamSynchronize");
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
      if (replay >= 0) times.push_back(1e3 * static_cast<double>(ms) / (passes * sets_));
    }
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    cudaGraphExecDestroy(executable);
    cudaGraphDestroy(graph);
    return times;
  }

  void synchronize(const std::string& what) {
    for (int rank = 0; rank < kRanks; ++rank) {
      check(cudaSetDevice(ranks_.device(rank)), "cudaSetDevice");
      check(cudaDeviceSynchronize(), what.c_str());
    }
    for (int rank = 0; rank < kRanks; ++rank) {
      const machine::TimeoutRecord& timeout = ranks_.timeout(rank);
      if (timeout.state == 0) continue;
      fail(ErrorCode::kTimeout,
           "{}: rank {} waited for rank {} in operation {}: epoch {}, saw {:x}", what, rank,
           timeout.tag.peer, static_cast<int>(timeout.tag.operation), timeout.expected_epoch,
           timeout.seen);
    }
  }

  const Settings& settings_;
  CaseShape shape_;
  int sets_;
  int workers_;
  GpuRanks ranks_;
  cudaStream_t streams_[kRanks] = {};
  std::vector<RankInput> inputs_;
  std::vector<RankOutput> expected_, by_token_;
  std::vector<std::unique_ptr<GpuOperation>> operations_;  // set by set, rank by rank
  std::vector<Work> work_;                                 // the same
};

template <class Args>
Args with_workers(Args args, int workers) {
  args.machine.num_workers = workers;
  args.machine.takes_device = false;
  return args;
}
cuda::CombineKernelArgs at_token_rank(cuda::CombineKernelArgs args) {
  args.combine.at_expert_rank = false;
  return args;
}

void run_case(const Settings& settings, int tokens, int experts, int sets) {
  CaseShape shape;
  shape.max_tokens = shape.num_tokens = tokens;
  shape.num_experts = experts;
  shape.scale_layout = ScaleLayout::kColumnMajor;
  RoleBench bench(settings, shape, sets);
  const int full = bench.workers();
  const auto launch_dispatch = [&](int send, int receive) {
    return [=](const Work& w, cudaStream_t stream) {
      cuda::launch_dispatch_send(with_workers(w.dispatch, send), stream);
      cuda::launch_dispatch_receive(with_workers(w.dispatch, receive), stream);
    };
  };
  const auto launch_combine = [&](int send, int receive) {
    return [=](const Work& w, cudaStream_t stream) {
      cuda::launch_combine_send(with_workers(w.combine, send), stream);
      cuda::launch_combine_receive(with_workers(w.combine, receive), stream);
    };
  };
  bench.run({"dispatch",
             [](const Work& w, cudaStream_t s) { cuda::launch_dispatch(w.dispatch, s); }, true});
  bench.run({"combine", [](const Work& w, cudaStream_t s) { cuda::launch_combine(w.combine, s); },
             false, true});
  bench.run({"pair",
             [](const Work& w, cudaStream_t s) {
               cuda::launch_dispatch(w.dispatch, s);
               cuda::launch_combine(w.combine, s);
             },
             true, true});
  bench.run(
      {"combine_token_rank",
       [](const Work& w, cudaStream_t s) { cuda::launch_combine(at_token_rank(w.combine), s); },
       false, true});
  bench.run({"dispatch_not_early",
             [=](const Work& w, cudaStream_t s) {
               cuda::launch_dispatch(with_workers(w.dispatch, full), s);
             },
             true});
  bench.run({"combine_not_early",
             [=](const Work& w, cudaStream_t s) {
               cuda::launch_combine(with_workers(w.combine, full), s);
             },
             false, true});
  bench.run({"dispatch_two_launches", launch_dispatch(full, full), true});
  bench.run({"dispatch_8_24", launch_dispatch(8, 24), true});
  bench.run({"combine_two_launches", launch_combine(full, full), false, true});
  if (tokens == 128 && experts == 64) {
    bench.run({"generic_dispatch",
               [](const Work& w, cudaStream_t s) { cuda::generic::launch_dispatch(w.dispatch, s); },
               true});
    for (const int workers : {64, 96, 128}) {
      if (workers > full) continue;
      bench.run({fmt::format("dispatch_{}", workers),
                 [=](const Work& w, cudaStream_t s) {
                   cuda::launch_dispatch(with_workers(w.dispatch, workers), s);
                 },
                 true});
      bench.run({fmt::format("combine_{}", workers),
                 [=](const Work& w, cudaStream_t s) {
                   cuda::launch_combine(with_workers(w.combine, workers), s);
                 },
                 false, true});
    }
    for (const bool cooperative : {false, true}) {
      bench.run({cooperative ? "empty_cooperative" : "empty", [=](const Work& w, cudaStream_t s) {
                   launch_empty(w.dispatch, full, cooperative, s);
                 }});
    }
  }
}

// One way, in microseconds: half of there and back.
void probe_link(const Settings& settings) {
  constexpr int kTurns = 200;
  const Push pushes[] = {Push::kFlagOnly, Push::kStores, Push::kBulk};
  const char* names[] = {"flag", "stores_and_flag", "bulk_and_flag"};
  for (int push = 0; push < 3; ++push) {
    for (const std::int64_t bytes : {7552, 14336}) {
      DeviceMemory first(32768, 0), second(32768, settings.num_devices > 1 ? 1 : 0);
      PingPong args;
      args.push = pushes[push];
      args.bytes = bytes;
      args.turns = kTurns;
      double best = 1e9;
      for (int pass = 0; pass < 5; ++pass) {
        args.base = static_cast<std::uint64_t>(pass) * kTurns;
        cudaStream_t streams[2];
        cudaEvent_t begin = nullptr, end = nullptr;
        for (int side = 1; side >= 0; --side) {
          check(cudaSetDevice(settings.num_devices > 1 ? side : 0), "cudaSetDevice");
          check(cudaStreamCreateWithFlags(&streams[side], cudaStreamNonBlocking), "stream");
          args.first = side == 0 ? 1 : 0;
          args.mine = (side == 0 ? first : second).data();
          args.theirs = (side == 0 ? second : first).data();
          if (side == 0) {
            check(cudaEventCreate(&begin), "event");
            check(cudaEventCreate(&end), "event");
            check(cudaEventRecord(begin, streams[0]), "event");
          }
          launch_ping_pong(args, streams[side]);
          if (side == 0) check(cudaEventRecord(end, streams[0]), "event");
        }
        check(cudaStreamSynchronize(streams[0]), "ping pong");
        float ms = 0;
        check(cudaEventElapsedTime(&ms, begin, end), "cudaEventElapsedTime");
        best = std::min(best, 1e3 * static_cast<double>(ms) / kTurns / 2);
        check(cudaStreamSynchronize(streams[1]), "ping pong");
      }
      fmt::print(R"({{"bench": "link", "gpu": "{}", "devices": {}, "push": "{}", "bytes": {}, )"
                 R"("one_way_us": {:.2f}}})"
                 "\n",
                 settings.gpu, settings.num_devices, names[push], bytes, best);
    }
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace braid::gpu_test

int main(int argc, char** argv) {
  using namespace braid::gpu_test;
  Settings settings;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "--replays") settings.replays = std::atoi(argv[i + 1]);
    if (std::string(argv[i]) == "--only") settings.only = argv[i + 1];
  }
  int devices = 0;
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    fmt::print(stderr, "role_bench: there is no CUDA GPU here\n");
    return 1;
  }
  settings.num_devices = std::min(devices, kRanks);
  try {
    cudaDeviceProp properties{};
    braid::cuda::check(cudaGetDeviceProperties(&properties, 0), "cudaGetDeviceProperties");
    settings.gpu = properties.name;
    settings.num_sms = properties.multiProcessorCount;
    run_case(settings, 128, 64, 8);
    run_case(settings, 8, 64, 96);
    run_case(settings, 128, 256, 8);
    probe_link(settings);
  } catch (const braid::Error& error) {
    fmt::print(stderr, "role_bench: {}\n", error.what());
    return 1;
  }
  return 0;
}
