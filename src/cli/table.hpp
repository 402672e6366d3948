// Reports as text for people.
#pragma once

#include <string>

#include "app/report.hpp"
#include "braid/buffer.hpp"

namespace braid::cli {

std::string to_table(const app::RunReport& report);
std::string to_table(const app::BenchReport& report);
std::string to_table(const app::PlanOptions& options, const MemoryPlan& plan);

}  // namespace braid::cli
