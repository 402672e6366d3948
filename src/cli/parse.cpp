#include <algorithm>

#include "app/build_info.hpp"
#include "cli/arguments.hpp"
#include "cli/commands.hpp"
#include "cli/parse_predict.hpp"

namespace braid::cli {
namespace {

void add_ranks(Arguments& arguments, int& ranks, int& ranks_per_node) {
  arguments.number("--ranks", ranks, 1, "R: how many ranks; divides the number of experts");
  arguments.number("--ranks-per-node", ranks_per_node, 1,
                   "P: ranks that reach each other's memory; divides R", "R");
}

void add_mode(Arguments& arguments, app::Mode& mode) {
  arguments.choice("--mode", "low_latency|high_throughput", "low_latency",
                   "fixed capacity, rows by expert; or exactly the received rows, by source, of "
                   "one node's ranks",
                   [&mode](const std::string& text) { mode = app::parse_mode(text); });
}

void add_rows(Arguments& arguments, std::optional<app::RowOrder>& rows) {
  arguments.choice("--rows", "source|expert", "expert; in high_throughput source",
                   "how received rows stand: as they came, or once for each of their experts",
                   [&rows](const std::string& text) { rows = app::parse_rows(text); });
}

void add_fan_out(Arguments& arguments, FanOut& fan_out) {
  arguments.choice("--fan-out", "auto|per_expert|per_rank", "auto",
                   "what one copy of a token is for; auto is per_rank",
                   [&fan_out](const std::string& text) { fan_out = parse_fan_out(text.c_str()); });
}

void add_dispatch(Arguments& arguments, DispatchFormat& format) {
  arguments.choice(
      "--dispatch", "bf16|fp8|fp8_pow2|fp8_ue8m0", "fp8", "how tokens travel to the experts",
      [&format](const std::string& text) { format = parse_dispatch_format(text.c_str()); });
}

void add_backend(Arguments& arguments, app::CommunicationOptions& options) {
  arguments.choice(
      "--backend", "cpu|cuda", "cpu", "what the ranks compute on; run: cpu only",
      [&options](const std::string& text) { options.backend = parse_backend(text.c_str()); });
}

// What a bench can say of GPUs.
void add_devices(Arguments& arguments, app::BenchOptions& options) {
  app::CommunicationOptions& communication = options.communication;
  arguments.choice("--devices", "N,N,...", "rank modulo their number",
                   "--backend cuda: the CUDA device of each rank", [&](const std::string& text) {
                     communication.devices = Arguments::read_list("--devices", text, 0);
                   });
  const auto budget = [&](const char* name, std::optional<int>& value, const char* phase) {
    arguments.number(name, 0, "--workers",
                     std::string("the same of ") + phase + " alone; 0: the default of --workers",
                     [&value](int given) { value = given; });
  };
  budget("--send-workers", communication.send_workers, "sends");
  budget("--receive-workers", communication.receive_workers, "receives");
  arguments.number("--sets", options.sets, 1,
                   "--backend cuda: inputs and outputs that operations take in turn",
                   "as many as touch twice the L2 cache, at least 2");
}

void add_communication(Arguments& arguments, app::CommunicationOptions& options,
                       const std::string& rounds_default, const std::string& workers_default) {
  add_backend(arguments, options);
  add_ranks(arguments, options.ranks, options.ranks_per_node);
  arguments.flag("--processes", options.processes, "ranks are processes instead of threads");
  add_mode(arguments, options.mode);
  add_rows(arguments, options.rows_given);
  arguments.number("--alignment", 1, std::to_string(app::kDefaultAlignment),
                   "high_throughput by expert: an expert's rows are padded to a multiple of it",
                   [&options](int alignment) { options.alignment_given = alignment; });
  arguments.choice("--path", app::kPath, app::kPath,
                   "the only path of this version: from source to destination", app::check_path);
  add_fan_out(arguments, options.fan_out);
  arguments.choice(
      "--reduce", "token_rank|expert_rank", "token_rank; in high_throughput expert_rank",
      "where a token's rows are summed",
      [&options](const std::string& text) { options.reduce_given = parse_reduce(text.c_str()); });
  add_dispatch(arguments, options.dispatch);
  arguments.choice(
      "--scales", "row|column", "row",
      "how the scales of an expert's FP8 rows stand: row by row, or by scale group",
      [&options](const std::string& text) { options.scales = parse_scale_layout(text.c_str()); });
  arguments.choice("--combine", "bf16|logfmt10", "bf16", "how the experts' rows travel home",
                   [&options](const std::string& text) {
                     options.combine = parse_combine_format(text.c_str());
                   });
  arguments.number("--rounds", 1, rounds_default,
                   "G: groups of a rank's experts that go one after another; divides their number",
                   [&options](int rounds) {
                     options.rounds = rounds;
                     options.rounds_given = true;
                   });
  arguments.number("--workers", options.workers, 1,
                   "W: threads that an operation of a rank uses; SMs on CUDA", workers_default);
  arguments.number<std::uint64_t>("--seed", options.seed, 0, "of everything random");
  arguments.number("--timeout", options.timeout_seconds, 1,
                   "seconds that a rank waits for another before it gives up");
  arguments
      .number(app::kLaunchedOption, 0, "", "",
              [&options](int descriptor) { options.launched = descriptor; })
      ->group("");  // for the tool itself: not in the help
}

void add_json(Arguments& arguments, std::string& json) {
  arguments.text("--json", json, "FILE",
                 "write a report to FILE; -: to standard output, the table to standard error");
}

void add_run(CLI::App& app, RunCommand& command) {
  Arguments arguments(app);
  app::RunOptions& options = command.options;
  arguments
      .text("--layer", options.layer, "PATH",
            "a Hugging Face checkpoint directory of a Qwen3-MoE or DeepSeek-V3 model")
      ->required();
  arguments.number("--layer-index", 0, "its first MoE layer", "which layer of the checkpoint",
                   [&options](int index) { options.layer_index = index; });
  add_communication(arguments, options.communication, "peo: 4, or 2; else 1",
                    "as many as the schedule needs");
  add_run_schedule(arguments, options.overlap);
  arguments.number("--tokens", options.tokens, 1, "tokens in all, split over the ranks in order",
                   "all of PATH/inputs.safetensors; without that file 64 random ones");
  arguments.number("--repeat", options.repeat, 1,
                   "passes through the layer; of several, the first is not timed");
  add_timelines(arguments, command.trace, command.html);
  add_json(arguments, command.json);
  app.footer(
      "A schedule other than sequential is run beside it, and must give the same bits where a\n"
      "token's rows are summed at its rank. W workers are its device; --send-sms and the like are\n"
      "of them. A checkpoint's layer has no attention: tbo's steps of attention, and those that\n"
      "communicate for it, are passed through.");
}

void add_bench(CLI::App& app, BenchCommand& command) {
  Arguments arguments(app);
  app::BenchOptions& options = command.options;
  arguments.number("--hidden", options.hidden, 1, "H: channels of a token");
  arguments.number("--experts", options.experts, 1, "E: experts on all ranks together");
  arguments.number("--topk", options.top_k, 1, "k: experts of a token, at most 32",
                   std::to_string(app::kDefaultTopK) + ", or that of a recorded routing");
  arguments.text("--routing", options.routing, "uniform|zipf|FILE",
                 "which experts tokens choose; FILE: the tensor topk_idx [n, k] of a safetensors "
                 "file, its rows handed to the ranks in turn");
  add_communication(arguments, options.communication, "1", "1; on CUDA all SMs of a rank");
  arguments.number("--tokens", options.tokens, 1, "T: tokens on each rank");
  arguments.number("--repeat", options.repeat, 1, "timed iterations; on CUDA replays of a graph");
  add_devices(arguments, options);
  add_json(arguments, command.json);
  app.footer(
      "With --backend cuda --mode high_throughput an operation takes --workers SMs, dispatch and\n"
      "combine are on a handle, and --dispatch fp8 means tokens that are given already quantized.\n"
      "Combine adds rows by source as they came; with --rows expert it weighs the experts' rows.");
}

void add_plan(CLI::App& app, PlanCommand& command) {
  Arguments arguments(app);
  app::PlanOptions& options = command.options;
  BufferOptions& buffer = options.buffer;
  add_ranks(arguments, options.topology.num_ranks, options.topology.ranks_per_node);
  arguments.number("--experts", buffer.num_experts, 1, "E: experts on all ranks together");
  arguments.number("--tokens", buffer.max_tokens, 1, "T: most tokens that a rank dispatches");
  arguments.number("--hidden", buffer.hidden, 1, "H: channels of a token");
  arguments.number("--topk", buffer.top_k, 1, "k: experts of a token, at most 32");
  arguments.number("--depth", 1, "2; in high_throughput 1",
                   "D: operations sent and not yet received, or ahead of a peer",
                   [&options](int depth) { options.depth = depth; });
  arguments.number("--rounds", buffer.max_rounds, 1, "G: most rounds of an operation");
  add_mode(arguments, options.mode);
  add_rows(arguments, options.rows_given);
  add_fan_out(arguments, options.fan_out);
  add_dispatch(arguments, buffer.widest_dispatch);
  arguments.flag("--combine-regions", buffer.combine_regions,
                 "with room for the experts' rows, for combine without a copy");
  arguments.number("--few-tokens", buffer.few_tokens, 0,
                   "ranks with at most so many get their sums as words, 0: none");
  add_json(arguments, command.json);
}

std::string version_text() {
  const app::BuildInfo build = app::build_info();
  std::string text = fmt::format("braid {} ({}, {}", build.version, build.compiler, build.type);
  if (!build.sanitizer.empty()) text += ", sanitizer " + build.sanitizer;
  if (!build.git_commit.empty()) text += ", commit " + build.git_commit.substr(0, 12);
  return text + ")\n";
}

// A text with exactly one line break at its end.
std::string one_ending(std::string text) {
  text.erase(text.find_last_not_of('\n') + 1);
  return text + "\n";
}

std::string one_line(std::string text) {
  std::replace(text.begin(), text.end(), '\n', ' ');
  while (!text.empty() && (text.back() == ' ' || text.back() == '.')) text.pop_back();
  return text;
}

}  // namespace

Command parse(const CommandLine& line) {
  CLI::App app("Moves the tokens of a Mixture-of-Experts layer between ranks and back.", "braid");
  app.set_version_flag("--version", version_text(), "print the version and end");
  app.require_subcommand(0, 1);
  app.get_formatter()->column_width(34);
  RunCommand run;
  BenchCommand bench;
  PlanCommand plan;
  PredictCommand predict;
  TuneCommand tune;
  plan.options.buffer.num_experts = 64;
  plan.options.buffer.max_tokens = 128;
  plan.options.buffer.hidden = 2048;
  plan.options.buffer.top_k = app::kDefaultTopK;
  plan.options.buffer.widest_dispatch = DispatchFormat::kFp8;
  CLI::App* run_app = app.add_subcommand("run", "Run one layer of a checkpoint and check it.");
  CLI::App* bench_app = app.add_subcommand("bench", "Time dispatch and combine.");
  CLI::App* plan_app = app.add_subcommand("plan", "Print a buffer's memory, to the byte.");
  add_run(*run_app, run);
  add_bench(*bench_app, bench);
  add_plan(*plan_app, plan);
  CLI::App* predict_app =
      app.add_subcommand("predict", "Predict a layer's time with a schedule on a machine.");
  add_predict(*predict_app, predict);
  CLI::App* tune_app = app.add_subcommand("tune", "Find the best schedule, by prediction.");
  add_tune(*tune_app, tune);

  try {
    app.parse(line.argc, line.argv);
  } catch (const CLI::CallForHelp&) {
    return PrintCommand{one_ending(app.help())};
  } catch (const CLI::CallForVersion&) {
    return PrintCommand{version_text()};
  } catch (const CLI::ParseError& error) {
    fail(ErrorCode::kInvalidArgument, "{}; see braid --help", one_line(error.what()));
  }
  if (run_app->parsed()) return run;
  if (bench_app->parsed()) return bench;
  if (plan_app->parsed()) {
    if (plan.options.topology.ranks_per_node == 0) {
      plan.options.topology.ranks_per_node = plan.options.topology.num_ranks;
    }
    plan.options.buffer.depth = plan.options.depth.value_or(plan.options.buffer.depth);
    plan.options.buffer.allow_per_expert = plan.options.fan_out == FanOut::kPerExpert;
    return plan;
  }
  if (predict_app->parsed()) return predict;
  if (tune_app->parsed()) return tune;
  fail(ErrorCode::kInvalidArgument,
       "a command is missing: run, bench, plan, predict or tune; see braid --help");
}

}  // namespace braid::cli
