// Waiting for a word to change: a few yields first, then sleep.
#pragma once

#include <atomic>
#include <thread>

namespace braid::cpu {

// Some microseconds of yields: about what a futex sleep and wake-up cost, so that a hand-over to a
// running thread is cheap, and short enough that many idle threads on few cores burn nothing.
inline constexpr int kSpinYields = 16;

// Returns once the word was seen to differ from old (acquire). Whoever changes it calls notify_*
// after a sequentially consistent change: with a weaker one the check for sleepers inside notify
// may run before the change is visible, and the sleeper would miss it.
template <class Word>
void wait_while_equal(const std::atomic<Word>& word, Word old) {
  for (int i = 0; i < kSpinYields; ++i) {
    if (word.load(std::memory_order_acquire) != old) return;
    std::this_thread::yield();
  }
  word.wait(old, std::memory_order_acquire);
}

}  // namespace braid::cpu
