#include "bench_vs_mpi/report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

#include "base/check.hpp"

namespace braid::bench {

namespace {

using Side = Times Pair::*;

double p50(const std::vector<Pair>& pairs, const std::function<double(const Pair&)>& value) {
  std::vector<double> values;
  for (const Pair& pair : pairs) values.push_back(value(pair));
  return median(values);
}

struct Medians {
  Medians(const std::vector<Pair>& pairs, Side side)
      : dispatch(p50(pairs, [&](const Pair& both) { return (both.*side).dispatch; })),
        combine(p50(pairs, [&](const Pair& both) { return (both.*side).combine; })),
        pair(p50(pairs, [&](const Pair& both) { return (both.*side).pair(); })) {}
  double dispatch, combine, pair;
};

std::string table_row(const char* name, const Medians& medians) {
  return fmt::format("{:<24}{:>12.0f}{:>12.0f}{:>12.0f}\n", name, medians.dispatch, medians.combine,
                     medians.pair);
}

nlohmann::json to_json(const std::vector<Pair>& pairs) {
  const auto times = [&](Side side) {
    const Medians medians(pairs, side);
    return nlohmann::json{
        {"dispatch", medians.dispatch}, {"combine", medians.combine}, {"pair", medians.pair}};
  };
  return {{"braid", times(&Pair::ours)}, {"mpi", times(&Pair::theirs)}, {"ratio", ratio(pairs)}};
}

std::string mpi_version() {
  char text[MPI_MAX_LIBRARY_VERSION_STRING];
  int length = 0;
  MPI_Get_library_version(text, &length);
  return text;
}

std::string device() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find(": ");
    if (line.starts_with("model name") && colon != std::string::npos) {
      return fmt::format("{}, {} cores", line.substr(colon + 2),
                         std::thread::hardware_concurrency());
    }
  }
  return fmt::format("{} cores", std::thread::hardware_concurrency());
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  char text[11];
  std::strftime(text, sizeof text, "%Y-%m-%d", std::gmtime(&now));
  return text;
}

}  // namespace

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  return values.size() % 2 == 1 ? values[middle] : (values[middle - 1] + values[middle]) / 2;
}

double ratio(const std::vector<Pair>& pairs) {
  return p50(pairs, [](const Pair& pair) { return pair.ours.pair() / pair.theirs.pair(); });
}

std::string to_text(const Report& report) {
  const Problem& problem = report.problem;
  std::string text = fmt::format(
      "{} processes, hidden {}, {} experts, top-{}, {} tokens a rank, BF16; {} pairs\n"
      "p50, first start to last end, in us\n\n{:<24}{:>12}{:>12}{:>12}\n",
      problem.ranks, problem.hidden, problem.experts, problem.top_k, problem.tokens, problem.pairs,
      "", "dispatch", "combine", "pair");
  text += table_row("braid", Medians(report.per_expert, &Pair::ours));
  text += table_row("mpi, copy per expert", Medians(report.per_expert, &Pair::theirs));
  text += table_row("braid", Medians(report.per_rank, &Pair::ours));
  text += table_row("mpi, copy per rank", Medians(report.per_rank, &Pair::theirs));
  text += fmt::format("\nratio_per_expert {:.3f}\nratio_per_rank {:.3f}\n",
                      ratio(report.per_expert), ratio(report.per_rank));
  return text;
}

void write_json(const Report& report, const std::string& path) {
  const Problem& problem = report.problem;
  const nlohmann::json json = {
      {"benchmark", "bench_vs_mpi"},
      {"date", today()},
      {"device", device()},
      {"mpi", mpi_version()},
      {"ranks", problem.ranks},
      {"hidden", problem.hidden},
      {"experts", problem.experts},
      {"top_k", problem.top_k},
      {"tokens", problem.tokens},
      {"pairs", problem.pairs},
      {"seed", problem.seed},
      {"verified", true},  // a run that does not verify ends before its report
      {"time_us",
       {{"per_expert", to_json(report.per_expert)}, {"per_rank", to_json(report.per_rank)}}},
      {"ratio_per_expert", ratio(report.per_expert)},
      {"ratio_per_rank", ratio(report.per_rank)}};
  std::ofstream file(path);
  file << json.dump() << '\n';
  file.close();
  require(file.good(), "--json names {}, which can't be written", path);
}

}  // namespace braid::bench
