#include "predict/fields.hpp"

#include <cmath>
#include <utility>

#include "base/check.hpp"

namespace braid::predict {

using Json = nlohmann::json;

Fields::Fields(const std::string& text, std::string what) : what_(std::move(what)) {
  json_ = Json::parse(text, nullptr, false);
  if (!json_.is_object()) fail(ErrorCode::kFormat, "{} is not a JSON object", what_);
  if (!json_.contains("numbers") || !json_["numbers"].is_object()) {
    fail(ErrorCode::kFormat, "{} has no object 'numbers'", what_);
  }
}

void Fields::reject(const char* name, const std::string& allowed) const {
  const Json& numbers = json_.at("numbers");
  const Json& field = numbers.contains(name) ? numbers.at(name) : json_.at(name);
  fail(ErrorCode::kFormat, "'{}' in {} is {}, but must be {}", name, what_,
       (field.is_object() && field.contains("value") ? field.at("value") : field)
           .dump(-1, ' ', false, Json::error_handler_t::replace),
       allowed);
}

std::string Fields::text(const char* name) {
  if (!json_.contains(name)) fail(ErrorCode::kFormat, "{} has no field '{}'", what_, name);
  if (!json_.at(name).is_string()) reject(name, "text");
  return json_.at(name).get<std::string>();
}

const Json& Fields::value(const char* name) {
  seen_.insert(name);
  const Json& numbers = json_.at("numbers");
  const auto found = numbers.find(name);
  if (found == numbers.end()) fail(ErrorCode::kFormat, "{} has no number '{}'", what_, name);
  if (!found->is_object() || !found->contains("value")) {
    fail(ErrorCode::kFormat, "'{}' in {} has no 'value'", name, what_);
  }
  const auto source = found->find("source");
  if (source == found->end() || !source->is_string() || source->get<std::string>().empty()) {
    fail(ErrorCode::kFormat, "'{}' in {} has no 'source': say where the number is from", name,
         what_);
  }
  return found->at("value");
}

double Fields::number(const char* name) {
  const Json& found = value(name);
  if (!found.is_number() || !std::isfinite(found.get<double>()) || found.get<double>() < 0) {
    reject(name, "a number of at least 0");
  }
  return found.get<double>();
}

double Fields::positive(const char* name) {
  const double found = number(name);
  if (found <= 0) reject(name, "a number above 0");
  return found;
}

double Fields::share(const char* name) {
  const double found = positive(name);
  if (found > 1) reject(name, "above 0 and at most 1");
  return found;
}

double Fields::fraction(const char* name) {
  const double found = number(name);
  if (found > 1) reject(name, "from 0 to 1");
  return found;
}

int Fields::whole(const char* name, int least) {
  constexpr int kHighest = 1 << 24;  // products of two stay far from overflow
  const double found = number(name);
  if (found != std::floor(found) || found < least || found > kHighest) {
    reject(name, fmt::format("a whole number from {} to {}", least, kHighest));
  }
  return static_cast<int>(found);
}

RateCurve Fields::curve(const char* name) {
  const char* const allowed = "pairs of SMs and GB/s above 0, by rising SMs";
  const Json& found = value(name);
  if (!found.is_array() || found.empty()) reject(name, allowed);
  RateCurve curve;
  for (const Json& pair : found) {
    if (!pair.is_array() || pair.size() != 2 || !pair[0].is_number() || !pair[1].is_number()) {
      reject(name, allowed);
    }
    const RateCurve::Point point{pair[0].get<double>(), pair[1].get<double>()};
    const double last = curve.points.empty() ? 0 : curve.points.back().sms;
    if (!(point.sms > last) || !(point.gbps > 0)) reject(name, allowed);
    curve.points.push_back(point);
  }
  return curve;
}

void Fields::check_nothing_left() const {
  for (const auto& [name, field] : json_.at("numbers").items()) {
    if (!seen_.contains(name)) {
      fail(ErrorCode::kFormat, "{} has a number '{}', which no profile of its kind has", what_,
           name);
    }
  }
}

}  // namespace braid::predict
