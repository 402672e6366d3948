#include "predict/engine.hpp"

#include <algorithm>
#include <queue>

#include "base/check.hpp"
#include "predict/port.hpp"
#include "predict/relations.hpp"

namespace braid::predict {
namespace {

using Kind = OperationKind;

constexpr double kNotEnded = -1;

enum class Event : std::uint8_t {
  kBegin,    // a rank's operation has launched
  kDevice,   // a rank's device: the next piece of work ends
  kOut,      // a rank's card: the next job has left it
  kIn,       // ... or has entered it
  kArrived,  // all of a send that a rank's receive waits for
  kEnd,      // a rank's operation
};

struct Entry {
  double time = 0;
  std::uint64_t number = 0;  // equal times keep their order
  Event event = Event::kBegin;
  int rank = 0;
  int operation = 0;
  std::uint64_t version = 0;  // of a device or card: older ones are void
  bool operator>(const Entry& other) const {
    return time != other.time ? time > other.time : number > other.number;
  }
};

// One rank's instance of an operation.
struct Instance {
  int before = 0;      // that it still waits for
  int producers = 0;   // of tiles that haven't ended
  int sends = 0;       // of a receive: not arrived
  int jobs = 0;        // of a send: on its card, plus one until it has ended
  int paths = 0;       // of a send, at this rank: NVLink, all cards out, own card in
  bool waits = false;  // has done all that it can before others have done theirs ...
  double waits_since_us = 0;
  bool last_part = false;  // of tiles
};

class Engine {
 public:
  Engine(const LayerCase& layer, const Schedule& schedule, const std::vector<Traffic>& traffic)
      : layer_(layer),
        schedule_(schedule),
        traffic_(traffic),
        topology_(traffic.front().rules().topology),
        relations_(relations(schedule)) {
    played_.num_ranks = topology_.num_ranks;
    played_.num_operations = static_cast<int>(schedule.operations.size());
    make_instances();
    const double rate = layer.device.nic_gbps * layer.protocol.nic_efficiency * 1e3;
    const auto ranks = static_cast<std::size_t>(played_.num_ranks);
    devices_.assign(ranks, Fluid(layer));
    out_.assign(ranks, Port(rate));
    in_.assign(ranks, Port(rate));
    device_versions_.resize(ranks);
    out_versions_.resize(ranks);
    in_versions_.resize(ranks);
    const auto operations = static_cast<std::size_t>(played_.num_operations);
    node_left_.assign(operations * static_cast<std::size_t>(topology_.num_nodes()),
                      topology_.ranks_per_node);
    cards_left_.assign(operations, topology_.num_ranks);
    entered_.resize(operations);
  }

  Played play() {
    for (int rank = 0; rank < played_.num_ranks; ++rank) {
      for (int op = 0; op < played_.num_operations; ++op) {
        if (at(rank, op).before == 0) start(0, rank, op);
      }
    }
    while (!entries_.empty()) {
      const Entry entry = entries_.top();
      entries_.pop();
      handle(entry);
    }
    for (int rank = 0; rank < played_.num_ranks; ++rank) {
      for (int op = 0; op < played_.num_operations; ++op) {
        const double end = played_.at(rank, op).end_us;
        BRAID_CHECK(end != kNotEnded);
        if (end <= played_.total_us) continue;
        played_.total_us = end;
        played_.last_rank = rank;
      }
    }
    return std::move(played_);
  }

 private:
  const Operation& operation(int op) const {
    return schedule_.operations[static_cast<std::size_t>(op)];
  }
  std::size_t index(int rank, int op) const {
    return static_cast<std::size_t>(rank) * static_cast<std::size_t>(played_.num_operations) +
           static_cast<std::size_t>(op);
  }
  Instance& at(int rank, int op) { return instances_[index(rank, op)]; }
  Span& span(int rank, int op) { return played_.spans[index(rank, op)]; }
  const Work& work(int rank, int op) const { return works_[index(rank, op)]; }
  const Relations& of(int op) const { return relations_[static_cast<std::size_t>(op)]; }
  Place place(int rank, int op) const {
    return {&traffic_[static_cast<std::size_t>(operation(op).micro_batch)], rank};
  }

  void make_instances() {
    const std::size_t count =
        schedule_.operations.size() * static_cast<std::size_t>(played_.num_ranks);
    instances_.resize(count);
    played_.spans.resize(count, {.end_us = kNotEnded});
    arrival_.resize(count);
    works_.reserve(count);
    for (int rank = 0; rank < played_.num_ranks; ++rank) {
      for (int op = 0; op < played_.num_operations; ++op) {
        Work made = work_of(layer_, operation(op), place(rank, op));
        if (of(op).other_lane) made.before_us += layer_.device.event_us;
        works_.push_back(made);
        at(rank, op) = {.before = of(op).num_before,
                        .producers = of(op).num_producers,
                        .sends = of(op).num_sends,
                        .jobs = 1,
                        .paths = topology_.num_nodes() > 1 ? 3 : 1};
      }
    }
  }

  void push(double time, Event event, int rank, int op) {
    entries_.push({time, next_number_++, event, rank, op, 0});
  }
  void push_device(int rank) {
    const Fluid::Next next = devices_[static_cast<std::size_t>(rank)].next();
    const std::uint64_t version = ++device_versions_[static_cast<std::size_t>(rank)];
    if (next.operation < 0) return;
    entries_.push({next.time, next_number_++, Event::kDevice, rank, next.operation, version});
  }
  void push_card(Event event, int rank) {
    const auto i = static_cast<std::size_t>(rank);
    const Port::Next next = (event == Event::kOut ? out_ : in_)[i].next();
    const std::uint64_t version = ++(event == Event::kOut ? out_versions_ : in_versions_)[i];
    if (next.job < 0) return;
    entries_.push({next.time, next_number_++, event, rank, next.job, version});
  }

  void handle(const Entry& entry) {
    const auto i = static_cast<std::size_t>(entry.rank);
    switch (entry.event) {
      case Event::kBegin: begin(entry.time, entry.rank, entry.operation); break;
      case Event::kDevice:
        if (entry.version != device_versions_[i]) return;
        devices_[i].finish(entry.time, entry.operation);
        push_device(entry.rank);
        work_ended(entry.time, entry.rank, entry.operation);
        break;
      case Event::kOut:
        if (entry.version != out_versions_[i]) return;
        out_[i].finish(entry.time, entry.operation);
        push_card(Event::kOut, entry.rank);
        job_ended(entry.time, entry.rank, entry.operation);
        break;
      case Event::kIn:
        if (entry.version != in_versions_[i]) return;
        in_[i].finish(entry.time, entry.operation);
        push_card(Event::kIn, entry.rank);
        path_arrived(
            entry.time + layer_.device.nic_latency_us + work(entry.rank, entry.operation).wire_us,
            entry.rank, entry.operation);
        break;
      case Event::kArrived: receive_arrived(entry.time, entry.rank, entry.operation); break;
      case Event::kEnd: end(entry.time, entry.rank, entry.operation); break;
    }
  }

  void start(double now, int rank, int op) {
    span(rank, op).start_us = now;
    devices_[static_cast<std::size_t>(rank)].start(now, op, operation(op).sms);
    push_device(rank);
    for (const int to : of(op).tiles) count_down(now, rank, to);
    push(now + work(rank, op).before_us, Event::kBegin, rank, op);
  }

  void count_down(double now, int rank, int op) {
    if (--at(rank, op).before == 0) start(now, rank, op);
  }

  // The part that waits until the producer of tiles has ended; none without one.
  double last_tile(int rank, int op) const {
    return of(op).num_producers == 0
               ? 0
               : 1 / num_tiles(operation(op), place(rank, op), schedule_.block_rows);
  }

  void begin(double now, int rank, int op) {
    // A combine's sums need every row.
    if (operation(op).kind == Kind::kCombineReceive && at(rank, op).sends > 0) {
      wait(now, rank, op);
      return;
    }
    do_part(now, rank, op, 1 - last_tile(rank, op));
  }

  void do_part(double now, int rank, int op, double share) {
    devices_[static_cast<std::size_t>(rank)].work(now, op, work(rank, op), share);
    push_device(rank);
    const double bytes = work(rank, op).nic_bytes * share;
    if (bytes <= 0) return;
    ++at(rank, op).jobs;
    out_[static_cast<std::size_t>(rank)].add(now, op, bytes);
    push_card(Event::kOut, rank);
    enter_cards(now, op);
  }

  // The first bytes of an operation on the network: from now on they enter the cards of their
  // receivers. A send is on its way from one rank's start to the last one's end, so its
  // first start stands for all.
  void enter_cards(double now, int op) {
    if (entered_[static_cast<std::size_t>(op)] != 0) return;
    entered_[static_cast<std::size_t>(op)] = 1;
    for (int rank = 0; rank < played_.num_ranks; ++rank) {
      const double bytes = nic_bytes_received(layer_, operation(op), place(rank, op));
      in_[static_cast<std::size_t>(rank)].add(now, op, bytes);
      push_card(Event::kIn, rank);
    }
  }

  void wait(double now, int rank, int op) {
    at(rank, op).waits = true;
    at(rank, op).waits_since_us = now;
  }
  void wait_ended(double now, int rank, int op) {
    at(rank, op).waits = false;
    span(rank, op).waited_us += now - at(rank, op).waits_since_us;
  }

  void work_ended(double now, int rank, int op) {
    Instance& instance = at(rank, op);
    if (of(op).num_producers > 0 && !instance.last_part) {
      wait(now, rank, op);
      if (instance.producers == 0) last_part(now, rank, op);
    } else if (operation(op).kind == Kind::kDispatchReceive && instance.sends > 0) {
      wait(now, rank, op);
    } else {
      push(now + work(rank, op).after_us, Event::kEnd, rank, op);
    }
  }

  void last_part(double now, int rank, int op) {
    wait_ended(now, rank, op);
    at(rank, op).last_part = true;
    do_part(now, rank, op, last_tile(rank, op));
  }

  void end(double now, int rank, int op) {
    span(rank, op).end_us = now;
    devices_[static_cast<std::size_t>(rank)].stop(now, op);
    push_device(rank);
    for (const int to : of(op).tiles) {
      Instance& consumer = at(rank, to);
      if (--consumer.producers == 0 && consumer.waits) last_part(now, rank, to);
    }
    if (is_send(operation(op).kind)) {
      send_ended(now, rank, op);
      job_ended(now, rank, op);
    }
    for (const int to : of(op).after) count_down(now, rank, to);
  }

  // What it pushed over NVLink has arrived at its node's ranks a latency later.
  void send_ended(double now, int rank, int op) {
    const int node = topology_.node_of(rank);
    int& left =
        node_left_[static_cast<std::size_t>(op) * static_cast<std::size_t>(topology_.num_nodes()) +
                   static_cast<std::size_t>(node)];
    if (--left > 0) return;
    const double arrived = now + layer_.device.nvlink_latency_us + work(rank, op).wire_us;
    for (int i = 0; i < topology_.ranks_per_node; ++i) {
      path_arrived(arrived, node * topology_.ranks_per_node + i, op);
    }
  }

  void job_ended(double now, int rank, int op) {
    if (!is_send(operation(op).kind) || --at(rank, op).jobs > 0) return;
    if (--cards_left_[static_cast<std::size_t>(op)] > 0 || topology_.num_nodes() == 1) return;
    enter_cards(now, op);  // an operation without a byte between nodes still raises its flags
    const double arrived = now + layer_.device.nic_latency_us + work(rank, op).wire_us;
    for (int to = 0; to < played_.num_ranks; ++to) path_arrived(arrived, to, op);
  }

  void path_arrived(double time, int rank, int op) {
    if (--at(rank, op).paths > 0) {
      arrival_[index(rank, op)] = std::max(arrival_[index(rank, op)], time);
      return;
    }
    time = std::max(arrival_[index(rank, op)], time);
    for (const int receive : of(op).receives) push(time, Event::kArrived, rank, receive);
  }

  void receive_arrived(double now, int rank, int op) {
    Instance& instance = at(rank, op);
    if (--instance.sends > 0 || !instance.waits) return;
    wait_ended(now, rank, op);
    if (operation(op).kind == Kind::kCombineReceive) {
      do_part(now, rank, op, 1);
    } else {
      push(now + work(rank, op).after_us, Event::kEnd, rank, op);
    }
  }

  const LayerCase& layer_;
  const Schedule& schedule_;
  const std::vector<Traffic>& traffic_;
  Topology topology_;
  Played played_;
  std::vector<Relations> relations_;
  std::vector<Instance> instances_;
  std::vector<Work> works_;
  std::vector<double> arrival_;
  std::vector<Fluid> devices_;
  std::vector<Port> out_, in_;
  std::vector<std::uint64_t> device_versions_, out_versions_, in_versions_;
  std::vector<int> node_left_;   // [operation][node]: ranks whose send hasn't ended
  std::vector<int> cards_left_;  // [operation]: ranks whose card hasn't sent it all
  std::vector<char> entered_;
  std::priority_queue<Entry, std::vector<Entry>, std::greater<>> entries_;
  std::uint64_t next_number_ = 0;
};

}  // namespace

Played play(const LayerCase& layer, const Schedule& schedule, const std::vector<Traffic>& traffic) {
  require(!schedule.operations.empty(), "schedule {} has no operations", schedule.name);
  for (const Operation& op : schedule.operations) {
    require(op.micro_batch >= 0 && op.micro_batch < static_cast<int>(traffic.size()),
            "an operation is of micro-batch {}, but traffic is given for {}", op.micro_batch,
            traffic.size());
    require(traffic.front().rules().experts.num_rounds % op.num_rounds == 0,
            "an operation has {} rounds, but they must divide the traffic's {}", op.num_rounds,
            traffic.front().rules().experts.num_rounds);
  }
  return Engine(layer, schedule, traffic).play();
}

}  // namespace braid::predict
