// Options of a command whose values are checked as they are read, so that a wrong one is refused
// with a sentence that names the option, the value and what is allowed.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdint>
#include <functional>
#include <limits>
#include <string>
#include <system_error>
#include <vector>

#include "base/check.hpp"

namespace braid::cli {

class Arguments {
 public:
  explicit Arguments(CLI::App& app) : app_(app) {}

  // A whole number of at least `least`, handed to `set`. `fallback` is the default that the help
  // shows.
  template <class Number, class Set>
  CLI::Option* number(const std::string& name, Number least, const std::string& fallback,
                      const std::string& help, Set set) {
    const auto read = [name, least, set](const std::string& text) {
      set(read_number(name, text, least));
    };
    return add(name, read, help, fallback)->type_name("N");
  }

  // The same for a variable. Where its value does not tell, the help shows `fallback`.
  template <class Number>
  CLI::Option* number(const std::string& name, Number& value, Number least, const std::string& help,
                      const std::string& fallback = "") {
    return number(name, least, fallback.empty() ? std::to_string(value) : fallback, help,
                  [&value](Number given) { value = given; });
  }

  // A text that `read` turns into a value, or refuses by throwing; what it throws is put behind
  // the option's name.
  template <class Read>
  CLI::Option* choice(const std::string& name, const std::string& choices,
                      const std::string& fallback, const std::string& help, Read read) {
    const auto named = [name, read](const std::string& text) {
      try {
        read(text);
      } catch (const Error& error) {
        const std::string sentence = error.what();
        if (sentence.starts_with(name)) throw;
        fail(error.code(), "{}: {}", name, sentence);
      }
    };
    return add(name, named, help, fallback)->type_name(choices);
  }

  CLI::Option* text(const std::string& name, std::string& value, const std::string& type,
                    const std::string& help) {
    const auto read = [name, type, &value](const std::string& given) {
      require(!given.empty(), "{} is empty, but must be a {}", name, type);
      value = given;
    };
    return add(name, read, help, value)->type_name(type);
  }

  CLI::Option* flag(const std::string& name, bool& value, const std::string& help) {
    return app_.add_flag(name, value, described(help, "no"));
  }

  // "0,1,...": whole numbers, at least one.
  static std::vector<int> read_list(const std::string& name, const std::string& text, int least) {
    std::vector<int> values;
    for (std::size_t at = 0; at <= text.size();) {
      const std::size_t end = std::min(text.find(',', at), text.size());
      values.push_back(read_number(name, text.substr(at, end - at), least));
      at = end + 1;
    }
    return values;
  }

 private:
  static std::string described(const std::string& help, const std::string& fallback) {
    return fallback.empty() ? help : help + " [default: " + fallback + "]";
  }

  CLI::Option* add(const std::string& name, const std::function<void(const std::string&)>& read,
                   const std::string& help, const std::string& fallback) {
    return app_.add_option_function<std::string>(name, read, described(help, fallback));
  }

  template <class Number>
  static Number read_number(const std::string& name, const std::string& text, Number least) {
    Number value{};
    const char* end = text.data() + text.size();
    const auto [rest, error] = std::from_chars(text.data(), end, value);
    require(error == std::errc{} && rest == end && value >= least,
            "{} is '{}', but must be a whole number from {} to {}", name, text, least,
            std::numeric_limits<Number>::max());
    return value;
  }

  CLI::App& app_;
};

}  // namespace braid::cli
