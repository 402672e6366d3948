// A stream on the CPU: a queue, a thread that takes from it in order, and a pool of workers.
#pragma once

#include <memory>
#include <thread>

#include "machine/stream_backend.hpp"

namespace braid::cpu {

class CpuStream final : public detail::StreamBackend {
 public:
  CpuStream();
  // Runs what was enqueued, then ends the thread. Called by an operation of this very stream (the
  // last handle went there) it leaves the thread to end by itself.
  ~CpuStream() override;

  void run(std::function<void()> callable) override;
  void run_workers(int num_workers, detail::WorkerFunction function) override;
  std::shared_ptr<detail::EventBackend> record() override;
  void wait(const Event& event) override;
  void synchronize() override;

 private:
  struct State;
  static void serve(const std::shared_ptr<State>& state);

  std::shared_ptr<State> state_;  // shared with the thread, which may outlive this object
  std::thread thread_;
};

}  // namespace braid::cpu
