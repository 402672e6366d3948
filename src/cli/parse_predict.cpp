#include "cli/parse_predict.hpp"

#include <fmt/format.h>

#include <sstream>

#include "cli/arguments.hpp"

namespace braid::cli {
namespace {

// The machine, the protocol and the layer.
void add_case(Arguments& arguments, app::PredictOptions& options) {
  const auto built_in = [](const std::vector<std::string>& names) {
    return fmt::format("{}|FILE", fmt::join(names, "|"));
  };
  arguments.text("--profile", options.profile, built_in(hardware_profile_names()),
                 "the device and its links; FILE ends in .json");
  arguments.text("--protocol", options.protocol, built_in(protocol_profile_names()),
                 "what dispatch and combine cost beyond bytes");
  arguments.text("--shape", options.shape, built_in(model_shape_names()), "the model's layer");
  arguments.number("--nodes", options.nodes, 1, "N: nodes");
  arguments.number("--ranks-per-node", options.ranks_per_node, 1, "P: ranks on each of them");
  arguments.choice("--path", "direct|layered|auto", "auto",
                   "how dispatch reaches other nodes; layered: once per node; auto is direct",
                   [&options](const std::string& text) { options.path = app::parse_path(text); });
  arguments.choice(
      "--fan-out", "auto|per_expert|per_rank", "auto",
      "what one copy of a token is for; auto is the protocol's",
      [&options](const std::string& text) { options.fan_out = parse_fan_out(text.c_str()); });
  arguments.choice("--reduce", "token_rank|expert_rank", "the protocol's; sbo: token_rank",
                   "where a token's rows are summed", [&options](const std::string& text) {
                     options.reduce = parse_reduce(text.c_str());
                   });
  arguments.choice("--dispatch", "bf16|fp8|fp8_pow2|fp8_ue8m0", "fp8",
                   "how tokens travel, and the experts' GEMMs compute",
                   [&options](const std::string& text) {
                     options.dispatch = parse_dispatch_format(text.c_str());
                   });
  arguments.choice("--combine", "bf16|logfmt10", "bf16", "how the experts' rows travel home",
                   [&options](const std::string& text) {
                     options.combine = parse_combine_format(text.c_str());
                   });
  arguments.choice(
      "--routing", "balanced|uniform|zipf", "balanced", "which experts tokens choose",
      [&options](const std::string& text) { options.routing = app::parse_predict_routing(text); });
  arguments.number("--context", options.context, 1, "tbo: tokens that attention looks back at");
  arguments.number<std::uint64_t>("--seed", options.seed, 0, "of the routing");
}

// The defaults of a schedule's options, as the help shows them.
struct ScheduleDefaults {
  std::string send_sms, receive_sms, comm_sms, program;
};

void add_method(Arguments& arguments, app::ScheduleOptions& options, const std::string& fallback) {
  arguments.choice("--schedule", app::kSchedules, fallback, "the method of overlap",
                   [&options](const std::string& text) {
                     app::check_schedule(text);
                     options.schedule = text;
                   });
}

// What the schedule is made of.
void add_schedule(Arguments& arguments, app::ScheduleOptions& options,
                  const ScheduleDefaults& defaults) {
  const auto budget = [&](const char* name, int& value, const std::string& fallback,
                          const char* help) { arguments.number(name, value, 1, help, fallback); };
  budget("--send-sms", options.send_sms, defaults.send_sms, "peo: SMs of a send beside GEMMs");
  budget("--recv-sms", options.receive_sms, defaults.receive_sms,
         "peo: SMs of a receive beside GEMMs");
  budget("--up-gemm-sms", options.up_gemm_sms, "what communication leaves", "peo: SMs of up GEMMs");
  budget("--down-gemm-sms", options.down_gemm_sms, "what communication leaves",
         "peo: SMs of down GEMMs");
  arguments.number("--block-m", options.block_rows, 1, "sbo: rows behind a signal");
  budget("--comm-sms", options.comm_sms, defaults.comm_sms,
         "sbo, tbo: SMs of communication beside GEMMs");
  arguments.choice(
      "--program", fmt::format("{}", fmt::join(program_names(), "|")), defaults.program,
      "tbo: what a layer's stages are",
      [&options](const std::string& text) { options.program = find_program(text).name; });
  arguments.number("--delta-stages", 0, "the program's",
                   "tbo: stages that micro-batch 0 runs ahead",
                   [&options](int stages) { options.delta_stages = stages; });
}

// Those of a prediction.
void add_predict_schedule(Arguments& arguments, app::ScheduleOptions& options) {
  add_method(arguments, options, options.schedule);
  arguments.number("--rounds", options.rounds, 1,
                   "G: groups of a rank's experts that go one after another; divides their number",
                   "peo: 4, or 2; else 1");
  add_schedule(arguments, options,
               {.send_sms = "a sixteenth, or what the protocol needs",
                .receive_sms = "--send-sms, or what the protocol needs",
                .comm_sms = "sbo: 3; tbo: 20, at most a quarter",
                .program = "the shape's decode"});
  arguments.number("--layers", options.layers, 1, "tbo: layers one behind another");
}

void add_json(Arguments& arguments, std::string& json) {
  arguments.text("--json", json, "FILE",
                 "write a report to FILE; -: to standard output, the table to standard error");
}

}  // namespace

void add_run_schedule(Arguments& arguments, app::ScheduleOptions& options) {
  add_method(arguments, options, "with several --rounds peo-1, else sequential");
  add_schedule(
      arguments, options,
      {.send_sms = "1", .receive_sms = "1", .comm_sms = "1", .program = "the layer's decode"});
}

void add_timelines(Arguments& arguments, std::string& trace, std::string& html) {
  arguments.text("--trace", trace, "FILE", "write a trace for Perfetto or Chrome to FILE");
  arguments.text("--html", html, "FILE", "write a page with the timeline to FILE");
}

void add_predict(CLI::App& app, PredictCommand& command) {
  Arguments arguments(app);
  add_case(arguments, command.options);
  arguments.number("--tokens", command.options.tokens, 1, "tokens on each rank");
  add_predict_schedule(arguments, command.options);
  add_timelines(arguments, command.trace, command.html);
  arguments.text("--svg", command.svg, "FILE", "write a drawing of the timeline to FILE");
  add_json(arguments, command.json);
}

void add_tune(CLI::App& app, TuneCommand& command) {
  Arguments arguments(app);
  add_case(arguments, command.options.base);
  arguments.choice("--tokens", "N,N,...", fmt::format("{}", fmt::join(command.options.tokens, ",")),
                   "batch sizes: tokens on each rank", [&command](const std::string& text) {
                     command.options.tokens = Arguments::read_list("--tokens", text, 1);
                   });
  arguments.choice("--schedules", "NAME,NAME,...", "all", app::kSchedules,
                   [&command](const std::string& text) {
                     std::istringstream all(text);
                     for (std::string each; std::getline(all, each, ',');) {
                       app::check_schedule(each);
                       command.options.schedules.push_back(each);
                     }
                   });
  arguments.text("--plot", command.plot, "FILE",
                 "write a plot of speedup against batch size to FILE, an SVG");
  add_json(arguments, command.json);
}

}  // namespace braid::cli
