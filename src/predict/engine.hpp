// Plays a schedule on every rank at once: a discrete-event simulation.
//
// Each rank has a device (fluid.hpp) and two directions of a network card (port.hpp). An operation
// launches, works, and ends. What a send hands to its card leaves at the card's rate, shared with
// other sends; its bytes enter each receiving card likewise. A receive ends when the sends of all
// ranks have arrived: over NVLink with the sender's end, over the network when every card has sent
// and its own has received, each a latency later.
#pragma once

#include <vector>

#include "predict/cost.hpp"

namespace braid::predict {

struct Span {
  double start_us = 0;  // when it could start: its launch
  double end_us = 0;
  double waited_us = 0;  // of this: for other ranks, or for a producer's tiles
};

struct Played {
  int num_ranks = 0;
  int num_operations = 0;
  std::vector<Span> spans;  // [rank][operation]
  double total_us = 0;
  int last_rank = 0;  // that ended last

  const Span& at(int rank, int operation) const {
    return spans[static_cast<std::size_t>(rank) * static_cast<std::size_t>(num_operations) +
                 static_cast<std::size_t>(operation)];
  }
};

// `traffic`: of each micro-batch. The schedule is valid, and its rounds divide those of the
// traffic.
Played play(const LayerCase& layer, const Schedule& schedule, const std::vector<Traffic>& traffic);

}  // namespace braid::predict
