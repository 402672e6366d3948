// Reading a profile: each field by name, each with a source, none left over.
#pragma once

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "braid/profile.hpp"

namespace braid::predict {

class Fields {
 public:
  // `what` starts every sentence: "profiles/h20.json" or "profile h20". Throws kFormat.
  Fields(const std::string& text, std::string what);

  std::string text(const char* name);
  // Of "numbers". At least 0; `positive`: more than 0.
  double number(const char* name);
  double positive(const char* name);
  int whole(const char* name, int least);
  double share(const char* name);     // more than 0, at most 1
  double fraction(const char* name);  // from 0 to 1
  RateCurve curve(const char* name);

  // Throws kFormat for a field that nobody asked for: most likely a misspelled one.
  void check_nothing_left() const;

  [[noreturn]] void reject(const char* name, const std::string& allowed) const;

 private:
  const nlohmann::json& value(const char* name);

  std::string what_;
  nlohmann::json json_;
  std::set<std::string> seen_;
};

}  // namespace braid::predict
