// The command line as values, and what each command does.
#pragma once

#include <string>
#include <variant>

#include "app/options.hpp"
#include "app/predict.hpp"
#include "app/tune.hpp"

namespace braid::cli {

struct RunCommand {
  app::RunOptions options;
  std::string json;         // empty: no report; "-": standard output
  std::string trace, html;  // empty: none
};

struct BenchCommand {
  app::BenchOptions options;
  std::string json;
};

struct PlanCommand {
  app::PlanOptions options;
  std::string json;
};

struct PredictCommand {
  app::PredictOptions options;
  std::string json;
  std::string trace, html, svg;  // empty: none
};

struct TuneCommand {
  app::TuneOptions options;
  std::string json;
  std::string plot;  // empty: none
};

// --help and --version: print this and end.
struct PrintCommand {
  std::string text;
};

using Command =
    std::variant<RunCommand, BenchCommand, PlanCommand, PredictCommand, TuneCommand, PrintCommand>;

// As main got it.
struct CommandLine {
  int argc = 0;
  const char* const* argv = nullptr;
};

// Throws Error(kInvalidArgument) for whatever is wrong with the command line.
Command parse(const CommandLine& line);

// Each returns the exit status: 0, or 1 for a result that is not verified. Throw what goes wrong.
int execute(const RunCommand& command, const CommandLine& line);
int execute(const BenchCommand& command, const CommandLine& line);
int execute(const PlanCommand& command);
int execute(const PredictCommand& command);
int execute(const TuneCommand& command);

}  // namespace braid::cli
