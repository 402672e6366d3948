// A stream's operations as graphs, and the time that they take where they run: what a benchmark
// needs and an engine has from its own runtime. CUDA streams have it, CPU streams don't.
#pragma once

#include <functional>
#include <memory>

namespace braid::detail {

// Captured operations, ready to be launched again and again on the stream that they are of.
class Graph {
 public:
  virtual ~Graph() = default;
  virtual void launch() = 0;
};

class Recorder {
 public:
  virtual ~Recorder() = default;

  // What `enqueue` puts on the stream, captured instead of run, instantiated and uploaded: a launch
  // takes no memory. To be made while no operation of another rank on this device is under way,
  // since that may wait for the device. What `enqueue` throws ends the capture and is passed on.
  virtual std::shared_ptr<Graph> capture(const std::function<void()>& enqueue) = 0;

  // Two points of the stream. Once it was synchronized, microseconds() is the time between them.
  virtual void start() = 0;
  virtual void stop() = 0;
  virtual double microseconds() const = 0;

  // A kernel of so many blocks, an SM each, that does nothing: what a launch costs by itself.
  virtual void launch_nothing(int blocks) = 0;
};

}  // namespace braid::detail
