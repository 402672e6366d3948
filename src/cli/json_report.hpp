// Reports as JSON: one object each.
#pragma once

#include <nlohmann/json.hpp>

#include "app/predict.hpp"
#include "app/report.hpp"
#include "app/tune.hpp"
#include "braid/buffer.hpp"

namespace braid::cli {

using Json = nlohmann::ordered_json;  // keys in the order in which a reader wants them

Json to_json(const app::RunReport& report);
Json to_json(const app::BenchReport& report);
Json to_json(const app::PlanOptions& options, const MemoryPlan& plan);
Json to_json(const app::PredictOptions& options, const predict::Question& question,
             const predict::Prediction& prediction);
Json to_json(const app::TuneOptions& options, const std::vector<app::Tuned>& tuned);

// What every report has of the build.
Json build_json();

}  // namespace braid::cli
