// Steps that all ranks take side by side, none of which may be left waiting for one that failed.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace braid {

// Collective: every rank's text, by rank.
using AllGather = std::function<std::vector<std::string>(const std::string&)>;

// Collective. Calls this rank's part, then every rank hears whether all parts went well. Where one
// threw, all ranks throw "rank 1: " and its sentence, with its error's code (kInternal where it was
// no braid::Error). Returns what each rank's part returned.
std::vector<std::string> together(const AllGather& all_gather,
                                  const std::function<std::string()>& part);

}  // namespace braid
