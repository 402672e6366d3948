// Where reports go.
#pragma once

#include <string>

#include "cli/json_report.hpp"

namespace braid::cli {

// The file of --json: opened before a run, so that a run is not lost to a wrong path; written
// after it. A file that was not there before and gets no report is removed again.
class JsonFile {
 public:
  // path: empty for no report, "-" for standard output. Throws kInvalidArgument if it can't be
  // written.
  explicit JsonFile(std::string path);
  ~JsonFile();
  JsonFile(const JsonFile&) = delete;
  JsonFile& operator=(const JsonFile&) = delete;

  // Throws kInternal if the file can't be written after all.
  void write(const Json& report);

  bool to_standard_output() const { return path_ == "-"; }

 private:
  std::string path_;
  bool created_ = false;
};

// The table to standard output, or to standard error where the report takes that, then the report.
// Throws kInternal if standard output can't be written.
void publish(JsonFile& file, const Json& report, const std::string& table);

// Throws kInternal if it can't be written.
void print(const std::string& text);

}  // namespace braid::cli
