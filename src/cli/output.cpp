#include "cli/output.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <string_view>
#include <utility>

#include "base/check.hpp"

namespace braid::cli {

TextFile::TextFile(const std::string& option, std::string path) : path_(std::move(path)) {
  if (path_.empty() || to_standard_output()) return;
  int file = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  created_ = file >= 0;
  if (!created_ && errno == EEXIST) file = ::open(path_.c_str(), O_WRONLY | O_CLOEXEC);
  require(file >= 0, "{} is '{}', which can't be written: {}", option, path_, std::strerror(errno));
  ::close(file);
}

TextFile::~TextFile() {
  // Whoever wrote the text may have been another process, so the file itself is asked.
  struct stat status {};
  if (created_ && ::stat(path_.c_str(), &status) == 0 && status.st_size == 0) {
    ::unlink(path_.c_str());
  }
}

void TextFile::write(const std::string& text) {
  if (path_.empty()) return;
  if (to_standard_output()) return print(text);
  std::FILE* file = std::fopen(path_.c_str(), "we");
  bool written = file != nullptr;
  if (written) {
    written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
    written = (std::fclose(file) == 0) && written;
  }
  if (!written) {
    fail(ErrorCode::kInternal, "the report can't be written to {}: {}", path_,
         std::strerror(errno));
  }
}

void JsonFile::write(const Json& report) {
  // A sentence of the operating system in a name may not be UTF-8; a report always is.
  file_.write(report.dump(2, ' ', false, Json::error_handler_t::replace) + "\n");
}

void check_files(std::initializer_list<NamedFile> files) {
  for (const NamedFile& file : files) {
    require(file.path != "-" || std::string_view(file.option) == "--json",
            "{} is '-', but only --json goes to standard output", file.option);
    for (const NamedFile& other : files) {
      require(file.path.empty() || &file == &other || file.path != other.path,
              "{} and {} both name '{}'", file.option, other.option, file.path);
    }
  }
}

void publish(JsonFile& file, const Json& report, const std::string& table) {
  if (file.to_standard_output()) {
    std::fwrite(table.data(), 1, table.size(), stderr);
  } else {
    print(table);
  }
  file.write(report);
}

void print(const std::string& text) {
  const bool written = std::fwrite(text.data(), 1, text.size(), stdout) == text.size();
  if (std::fflush(stdout) != 0 || !written) {
    fail(ErrorCode::kInternal, "standard output can't be written: {}", std::strerror(errno));
  }
}

}  // namespace braid::cli
