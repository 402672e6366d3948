#include <nlohmann/json.hpp>

#include "executor/timeline.hpp"

namespace braid {

std::string to_chrome_trace(const std::vector<Timeline>& timelines) {
  using Json = nlohmann::ordered_json;
  Json events = Json::array();
  const auto name = [&](const char* what, int process, int thread, const std::string& text) {
    events.push_back({{"ph", "M"},
                      {"name", what},
                      {"pid", process},
                      {"tid", thread},
                      {"args", {{"name", text}}}});
  };
  for (std::size_t i = 0; i < timelines.size(); ++i) {
    const Timeline& timeline = timelines[i];
    const int process = static_cast<int>(i);
    name("process_name", process, 0, timeline.name + ", rank " + std::to_string(timeline.rank));
    for (std::size_t lane = 0; lane < timeline.lanes.size(); ++lane) {
      name("thread_name", process, static_cast<int>(lane), timeline.lanes[lane]);
    }
    for (const TimelineSpan& span : timeline.spans) {
      events.push_back({{"ph", "X"},
                        {"name", span.name},
                        {"cat", span.kind},
                        {"pid", process},
                        {"tid", span.lane},
                        {"ts", span.start_us},
                        {"dur", span.end_us - span.start_us},
                        {"args",
                         {{"sms", span.sms},
                          {"round", span.round},
                          {"rounds", span.num_rounds},
                          {"micro_batch", span.micro_batch},
                          {"layer", span.layer},
                          {"waited_us", span.waited_us}}}});
    }
  }
  return Json({{"displayTimeUnit", "ns"}, {"traceEvents", events}}).dump(1) + "\n";
}

}  // namespace braid
