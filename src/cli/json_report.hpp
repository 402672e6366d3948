// Reports as JSON: one object each.
#pragma once

#include <nlohmann/json.hpp>

#include "app/report.hpp"
#include "braid/buffer.hpp"

namespace braid::cli {

using Json = nlohmann::ordered_json;  // keys in the order in which a reader wants them

Json to_json(const app::RunReport& report);
Json to_json(const app::BenchReport& report);
Json to_json(const app::PlanOptions& options, const MemoryPlan& plan);

}  // namespace braid::cli
