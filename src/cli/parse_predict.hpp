// The options of predict and tune, and of schedules, which run has too.
#pragma once

#include <CLI/CLI.hpp>

#include "cli/arguments.hpp"
#include "cli/commands.hpp"

namespace braid::cli {

void add_predict(CLI::App& app, PredictCommand& command);
void add_tune(CLI::App& app, TuneCommand& command);

// What run says of its schedule: all but the rounds.
void add_run_schedule(Arguments& arguments, app::ScheduleOptions& options);
void add_timelines(Arguments& arguments, std::string& trace, std::string& html);

}  // namespace braid::cli
