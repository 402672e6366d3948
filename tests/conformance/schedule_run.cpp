#include "conformance/schedule_run.hpp"

namespace braid::conformance {

ScheduleRun::ScheduleRun(Group& group, const BufferOptions& options, std::uint64_t seed)
    : RankRun(group, options),
      options_(options),
      calls_(seed),
      own_(seed * 31 + static_cast<std::uint64_t>(group.rank())),
      next_seed_(seed * 1000) {
  // One stream was made after the ranks met in the buffer: no kernel may run before all have
  // theirs.
  group.barrier();
}

bool ScheduleRun::take_number(int& number) {
  if (!in_flight_.empty() && *in_flight_.begin() + options_.depth <= next_number_) return false;
  number = next_number_++;
  in_flight_.insert(number);
  return true;
}

void ScheduleRun::start() {
  if (static_cast<int>(operations_.size()) == options_.handle_slots) return;
  Operation& op = operations_.emplace_back();
  op.c = cases_[static_cast<std::size_t>(below(static_cast<int>(cases_.size())))];
  op.c.workers = 1 + below(5);
  begin(op.c, kRoutings[below(std::size(kRoutings))], next_seed_++, op.d);
}

void ScheduleRun::send(Operation& op) {
  if (op.dispatch_sent == op.c.dispatch_rounds) return;
  if (op.dispatch_sent == 0 && !take_number(op.dispatch_number)) return;
  buffer_.dispatch_send(op.d.handle, op.dispatch_sent++, any_stream());
}

void ScheduleRun::receive(Operation& op) {
  if (op.dispatch_received == op.dispatch_sent) return;
  Stream& stream = any_stream();
  buffer_.dispatch_hook(op.d.handle, op.dispatch_received++)(stream);
  op.received = stream.record();
  if (op.dispatch_received == op.c.dispatch_rounds) in_flight_.erase(op.dispatch_number);
}

std::string ScheduleRun::begin_combine(Operation& op) {
  if (op.dispatch_received < op.c.dispatch_rounds || op.combining) return "";
  op.received.wait();
  if (std::string difference = check_dispatch(op.c, op.d); !difference.empty()) return difference;
  const RankInput& own = mine(op.d);
  reset_rows(op.c, op.d, op.y);
  experts(op.c, op.d, {0, kLocalExperts}, op.y);
  op.out.reset(memory_, std::vector<std::uint16_t>(
                            static_cast<std::size_t>(own.num_tokens * kHidden), 0x7FC0));
  CombineInput input;
  input.x = experts_rows(op.c, op.y);
  input.topk_weights = {op.d.weights.data(), DType::kFloat32, {own.num_tokens, kTopK}};
  CombineOutput output;
  output.x = {op.out.data(), DType::kBFloat16, {own.num_tokens, kHidden}};
  CombineOptions options = combine_options(op.c);
  options.rows_of_one_round = false;
  options.block_rows = 1 + below(7);
  buffer_.combine_begin(op.d.handle, input, output, options);
  op.combining = true;
  op.combine_sent = 0;
  return "";
}

void ScheduleRun::send_home(Operation& op) {
  if (!op.combining || op.combine_sent == op.c.combine_rounds) return;
  if (op.combine_sent == 0 && !take_number(op.combine_number)) return;
  buffer_.combine_send(op.d.handle, op.combine_sent++, any_stream());
}

std::string ScheduleRun::receive_home(Place place) {
  Operation& op = *place;
  if (!op.combining || op.combine_sent < op.c.combine_rounds) return "";
  Stream& stream = any_stream();
  buffer_.combine_receive(op.d.handle, stream);
  op.combining = false;
  in_flight_.erase(op.combine_number);
  const bool again = below(4) == 0;  // the same handle is combined once more
  stream.record().wait();
  std::string difference = check_combined(op.c, op.d, op.out);
  if (!again) operations_.erase(place);
  return difference;
}

std::string ScheduleRun::run_schedule(int num_steps) {
  for (int step = 0; step < num_steps || !operations_.empty(); ++step) {
    const int action = below(6);
    if (action == 0) {
      if (step < num_steps) start();
      continue;
    }
    if (operations_.empty()) continue;
    const Place place = std::next(operations_.begin(), below(static_cast<int>(operations_.size())));
    const std::string name = place->c.name();
    std::string difference;
    if (action == 1) send(*place);
    if (action == 2) receive(*place);
    if (action == 3) difference = begin_combine(*place);
    if (action == 4) send_home(*place);
    if (action == 5) difference = receive_home(place);
    if (!difference.empty()) return name + ": " + difference;
  }
  for (Stream& stream : streams_) stream.synchronize();
  return "";
}

}  // namespace braid::conformance
