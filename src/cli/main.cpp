// braid: run a layer, time the communication, plan its memory.
//
// Exit status: 0 when the result is verified; 1 for a run that failed or is not verified; 2 for bad
// usage, with one sentence on standard error.
#include <cstdio>
#include <exception>
#include <new>
#include <string>

#include "braid/error.hpp"
#include "cli/commands.hpp"
#include "cli/output.hpp"

namespace {

using namespace braid;

int execute_any(const cli::Command& command, const cli::CommandLine& line) {
  if (const auto* run = std::get_if<cli::RunCommand>(&command)) {
    return cli::execute(*run, line);
  }
  if (const auto* bench = std::get_if<cli::BenchCommand>(&command)) {
    return cli::execute(*bench, line);
  }
  if (const auto* plan = std::get_if<cli::PlanCommand>(&command)) return cli::execute(*plan);
  if (const auto* predict = std::get_if<cli::PredictCommand>(&command)) {
    return cli::execute(*predict);
  }
  if (const auto* tune = std::get_if<cli::TuneCommand>(&command)) return cli::execute(*tune);
  cli::print(std::get<cli::PrintCommand>(command).text);
  return 0;
}

int report(const std::string& sentence, int status) {
  std::fprintf(stderr, "braid: %s\n", sentence.c_str());
  return status;
}

bool is_bad_usage(ErrorCode code) {
  return code == ErrorCode::kInvalidArgument || code == ErrorCode::kFormat ||
         code == ErrorCode::kMissing;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    const cli::CommandLine line{argc, argv};
    return execute_any(cli::parse(line), line);
  } catch (const Error& error) {
    return report(error.what(), is_bad_usage(error.code()) ? 2 : 1);
  } catch (const std::bad_alloc&) {
    return report("there is not enough memory for this run", 1);
  } catch (const std::exception& error) {
    return report(error.what(), 1);
  }
}
