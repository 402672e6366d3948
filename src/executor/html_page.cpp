#include <nlohmann/json.hpp>

#include "executor/html_template.hpp"
#include "executor/timeline.hpp"

namespace braid {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const TimelineSpan& span) {
  return {{"name", span.name},         {"kind", span.kind},        {"lane", span.lane},
          {"sms", span.sms},           {"round", span.round},      {"rounds", span.num_rounds},
          {"batch", span.micro_batch}, {"layer", span.layer},      {"start", span.start_us},
          {"end", span.end_us},        {"waited", span.waited_us}, {"color", span.color}};
}

// Text may hold what would end the script that it stands in.
std::string safe_in_script(const Json& json) {
  std::string text = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  for (std::size_t at = text.find("</"); at != std::string::npos; at = text.find("</", at + 3)) {
    text.replace(at, 2, "<\\/");
  }
  return text;
}

}  // namespace

std::string to_html(const std::string& title, const std::vector<Timeline>& timelines) {
  Json list = Json::array();
  for (const Timeline& timeline : timelines) {
    Json spans = Json::array();
    for (const TimelineSpan& span : timeline.spans) spans.push_back(to_json(span));
    list.push_back({{"name", timeline.name},
                    {"rank", timeline.rank},
                    {"lanes", timeline.lanes},
                    {"spans", spans}});
  }
  const std::string data = safe_in_script({{"title", title}, {"timelines", list}});
  std::string page = kHtmlTemplate;
  const std::string mark = "@DATA@";
  page.replace(page.find(mark), mark.size(), data);
  return page;
}

}  // namespace braid
