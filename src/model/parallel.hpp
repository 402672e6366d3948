// Running independent pieces of work on a few threads.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

namespace braid::model {

// Calls work(piece) once for each piece from 0 to num_pieces - 1, in no particular order, and
// returns when all are done. num_threads 0: as many as cores. The first exception is thrown on;
// pieces not yet begun are then left out.
template <class Work>
void for_each_piece(std::int64_t num_pieces, int num_threads, const Work& work) {
  const int cores = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
  const std::int64_t wanted = num_threads > 0 ? num_threads : cores;
  std::atomic<std::int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr first_error;
  const auto run = [&] {
    try {
      for (std::int64_t piece = next++; piece < num_pieces; piece = next++) work(piece);
    } catch (...) {
      next = num_pieces;
      const std::lock_guard lock(mutex);
      if (!first_error) first_error = std::current_exception();
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (std::int64_t i = 1; i < std::min(wanted, num_pieces); ++i) helpers.emplace_back(run);
    run();
  }
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace braid::model
