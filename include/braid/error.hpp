// What Braid throws, and nothing else.
//
// Every public call throws braid::Error and no other type. what() is one sentence that names the
// argument, the value that was given and what is allowed, fit to be shown to a user as it is.
#pragma once

#include <stdexcept>
#include <string>

namespace braid {

enum class ErrorCode {
  kInvalidArgument,  // The caller's input; refused before anything was sent. The object lives on.
  kRefused,          // Right input at the wrong time (one operation too many, say). Lives on.
  kTimeout,          // A peer did not answer in time. The group is ended; build a new one.
  kPeerFailed,       // Another rank reported the failure first. The group is ended.
  kMissing,          // A capability or a file is not there; the sentence says what would bring it.
  kFormat,           // A file's content is not what its format promises.
  kInternal,         // A broken promise of Braid's own: a defect, please report it.
};

// "invalid_argument", "refused", ...: stable names for logs and reports.
const char* to_string(ErrorCode code) noexcept;

class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}
  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace braid
