// Reports as text for people.
#pragma once

#include <string>

#include "app/predict.hpp"
#include "app/report.hpp"
#include "app/tune.hpp"
#include "braid/buffer.hpp"

namespace braid::cli {

std::string to_table(const app::RunReport& report);
std::string to_table(const app::BenchReport& report);
std::string to_table(const app::PlanOptions& options, const MemoryPlan& plan);
std::string to_table(const app::PredictOptions& options, const predict::Question& question,
                     const predict::Prediction& prediction);
std::string to_table(const app::TuneOptions& options, const std::vector<app::Tuned>& tuned);

}  // namespace braid::cli
