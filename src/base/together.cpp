#include "base/together.hpp"

#include <exception>

#include "base/check.hpp"

namespace braid {
namespace {

constexpr char kWell = '+';

std::string trouble(ErrorCode code, const char* sentence) {
  return std::string(1, static_cast<char>('0' + static_cast<int>(code))) + sentence;
}

}  // namespace

std::vector<std::string> together(const AllGather& all_gather,
                                  const std::function<std::string()>& part) {
  std::string mine;
  try {
    mine = kWell + part();
  } catch (const Error& error) {
    mine = trouble(error.code(), error.what());
  } catch (const std::exception& error) {
    mine = trouble(ErrorCode::kInternal, error.what());
  }
  std::vector<std::string> texts = all_gather(mine);
  for (std::size_t rank = 0; rank < texts.size(); ++rank) {
    BRAID_CHECK(!texts[rank].empty());
    const char mark = texts[rank].front();
    texts[rank].erase(0, 1);
    if (mark != kWell) fail(static_cast<ErrorCode>(mark - '0'), "rank {}: {}", rank, texts[rank]);
  }
  return texts;
}

}  // namespace braid
