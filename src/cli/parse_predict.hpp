// The options of predict and tune.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/commands.hpp"

namespace braid::cli {

void add_predict(CLI::App& app, PredictCommand& command);
void add_tune(CLI::App& app, TuneCommand& command);

}  // namespace braid::cli
