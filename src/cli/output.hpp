// Where reports go.
#pragma once

#include <initializer_list>
#include <string>

#include "cli/json_report.hpp"

namespace braid::cli {

// A file that an option names: opened before a run, so that a run is not lost to a wrong path;
// written after it. A file that was not there before and gets no text is removed again.
class TextFile {
 public:
  // path: empty for none, "-" for standard output. Throws kInvalidArgument, naming the option, if
  // it can't be written.
  TextFile(const std::string& option, std::string path);
  ~TextFile();
  TextFile(const TextFile&) = delete;
  TextFile& operator=(const TextFile&) = delete;

  // Throws kInternal if the file can't be written after all.
  void write(const std::string& text);

  bool to_standard_output() const { return path_ == "-"; }

 private:
  std::string path_;
  bool created_ = false;
};

// The file of --json.
class JsonFile {
 public:
  explicit JsonFile(std::string path) : file_("--json", std::move(path)) {}
  void write(const Json& report);
  bool to_standard_output() const { return file_.to_standard_output(); }

 private:
  TextFile file_;
};

// Where an option writes to.
struct NamedFile {
  const char* option;
  const std::string& path;  // empty for none
};
// Refuses what would mix or overwrite: standard output takes the report of --json only, a file one
// text.
void check_files(std::initializer_list<NamedFile> files);

// The table to standard output, or to standard error where the report takes that, then the report.
// Throws kInternal if standard output can't be written.
void publish(JsonFile& file, const Json& report, const std::string& table);

// Throws kInternal if it can't be written.
void print(const std::string& text);

}  // namespace braid::cli
