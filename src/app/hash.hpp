// SHA-256 by which outputs are compared between runs.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

namespace braid::app {

class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(const void* data, std::size_t bytes);
  // Lower-case hex; the object is spent afterwards.
  std::string finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

std::string sha256(const std::string& bytes);

}  // namespace braid::app
