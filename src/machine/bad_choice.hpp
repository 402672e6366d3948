// What is said of a top-k value that names no expert.
#pragma once

#include <fmt/format.h>

#include <string>

#include "machine/machine.hpp"

namespace braid::machine {

// "topk_idx of token 3, choice 1 is 999, but must be -1 to 63"
inline std::string sentence_of(const BadChoiceRecord& bad, int num_experts) {
  return fmt::format("topk_idx of token {}, choice {} is {}, but must be -1 to {}", bad.token,
                     bad.choice, bad.value, num_experts - 1);
}

}  // namespace braid::machine
