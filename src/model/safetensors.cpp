#include "model/safetensors.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>
#include <system_error>

#include "base/check.hpp"
#include "model/json.hpp"

namespace braid::model {
namespace {

constexpr std::size_t kLengthBytes = 8;  // the header's length, little endian, starts the file
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

struct StoredType {
  const char* name;
  std::size_t bytes;
  std::optional<DType> dtype;
};

// Types without a DType can be in a file beside those that are read. Types that aren't listed at
// all can too; only their size goes unchecked.
const std::array<StoredType, 17> kStoredTypes = {{
    {"BF16", 2, DType::kBFloat16},
    {"F32", 4, DType::kFloat32},
    {"F8_E4M3", 1, DType::kFloat8E4M3},
    {"I32", 4, DType::kInt32},
    {"I64", 8, DType::kInt64},
    {"U8", 1, DType::kUint8},
    {"F16", 2, std::nullopt},
    {"F64", 8, std::nullopt},
    {"F8_E5M2", 1, std::nullopt},
    {"F8_E8M0", 1, std::nullopt},
    {"BOOL", 1, std::nullopt},
    {"I8", 1, std::nullopt},
    {"I16", 2, std::nullopt},
    {"U16", 2, std::nullopt},
    {"U32", 4, std::nullopt},
    {"U64", 8, std::nullopt},
    {"C64", 8, std::nullopt},
}};

const StoredType* stored_type(const std::string& name) {
  const auto found = std::find_if(kStoredTypes.begin(), kStoredTypes.end(),
                                  [&](const StoredType& type) { return name == type.name; });
  return found == kStoredTypes.end() ? nullptr : &*found;
}

// The place a message is about.
struct Where {
  const std::string& file;
  const std::string& tensor;

  template <class... Args>
  [[noreturn]] void reject(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ErrorCode::kFormat, "tensor '{}' in {} {}", tensor, file,
         fmt::format(format, std::forward<Args>(args)...));
  }
};

std::uint64_t read_unsigned(const nlohmann::json& json, const Where& where, const char* what) {
  if (!json.is_number_unsigned()) {
    where.reject("has a {} that is not a whole number of 0 or more", what);
  }
  return json.get<std::uint64_t>();
}

std::vector<std::int64_t> read_shape(const nlohmann::json& entry, const Where& where) {
  const auto found = entry.find("shape");
  if (found == entry.end() || !found->is_array()) where.reject("has no list 'shape'");
  std::vector<std::int64_t> shape;
  // The product is bounded too, so that no later multiplication of dimensions can overflow.
  constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  std::uint64_t elements = 1;
  for (const auto& dimension : *found) {
    const std::uint64_t value = read_unsigned(dimension, where, "dimension");
    if (value > kMost || (value != 0 && elements > kMost / 8 / value)) {
      where.reject("has a shape of more elements than a file can hold");
    }
    elements *= std::max<std::uint64_t>(value, 1);
    shape.push_back(static_cast<std::int64_t>(value));
  }
  return shape;
}

// A tensor whose bytes lie inside the buffer and are as many as its type and shape ask for.
TensorView read_entry(const nlohmann::json& entry, const Where& where, std::size_t buffer_bytes) {
  if (!entry.is_object()) where.reject("is described by something other than an object");
  TensorView view;
  view.name = where.tensor;
  view.file = where.file;
  const auto dtype = entry.find("dtype");
  if (dtype == entry.end() || !dtype->is_string()) where.reject("has no text 'dtype'");
  view.stored_dtype = dtype->get<std::string>();
  view.shape = read_shape(entry, where);

  const auto offsets = entry.find("data_offsets");
  if (offsets == entry.end() || !offsets->is_array() || offsets->size() != 2) {
    where.reject("has no pair 'data_offsets'");
  }
  const std::uint64_t begin = read_unsigned((*offsets)[0], where, "data offset");
  const std::uint64_t end = read_unsigned((*offsets)[1], where, "data offset");
  if (begin > end || end > buffer_bytes) {
    where.reject("lies at bytes {} to {} of the data, but the file has {} bytes of data", begin,
                 end, buffer_bytes);
  }
  view.bytes = static_cast<std::size_t>(end - begin);
  if (const StoredType* type = stored_type(view.stored_dtype)) {
    view.dtype = type->dtype;
    const auto expected = static_cast<std::size_t>(view.num_elements()) * type->bytes;
    if (view.bytes != expected) {
      where.reject("is {} and takes {} bytes, but has {}", view.describe(), expected, view.bytes);
    }
  }
  return view;
}

// The format allows neither overlap nor hole: each tensor starts where the one before it ended.
void check_coverage(const std::map<std::string, TensorView, std::less<>>& tensors,
                    const std::string& file, const std::byte* buffer, std::size_t buffer_bytes) {
  std::vector<const TensorView*> by_offset;
  for (const auto& [name, view] : tensors) by_offset.push_back(&view);
  std::sort(by_offset.begin(), by_offset.end(), [](const TensorView* a, const TensorView* b) {
    return a->data != b->data ? a->data < b->data : a->bytes < b->bytes;
  });
  const std::byte* next = buffer;
  for (const TensorView* view : by_offset) {
    if (view->data != next) {
      Where{file, view->name}.reject(
          "starts at byte {} of the data, but the tensor before it ends "
          "at byte {}",
          view->data - buffer, next - buffer);
    }
    next = view->data + view->bytes;
  }
  if (next != buffer + buffer_bytes) {
    fail(ErrorCode::kFormat, "{} has {} bytes of data, but its tensors end at byte {}", file,
         buffer_bytes, next - buffer);
  }
}

}  // namespace

std::int64_t TensorView::num_elements() const {
  std::int64_t count = 1;
  for (const std::int64_t dimension : shape) count *= dimension;
  return count;
}

std::string TensorView::describe() const {
  return fmt::format("{} [{}]", stored_dtype, fmt::join(shape, ", "));
}

SafetensorsFile::SafetensorsFile(const std::filesystem::path& path) : path_(path.string()) {
  map_file();
  try {
    read_header();
  } catch (...) {
    ::munmap(const_cast<std::byte*>(mapping_), file_bytes_);
    throw;
  }
}

SafetensorsFile::~SafetensorsFile() { ::munmap(const_cast<std::byte*>(mapping_), file_bytes_); }

void SafetensorsFile::map_file() {
  const int descriptor = ::open(path_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    fail(ErrorCode::kMissing, "{} can't be opened: {}", path_,
         std::generic_category().message(errno));
  }
  struct stat status {};
  const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  file_bytes_ = regular ? static_cast<std::size_t>(status.st_size) : 0;
  void* mapping = MAP_FAILED;
  if (file_bytes_ >= kLengthBytes) {
    mapping = ::mmap(nullptr, file_bytes_, PROT_READ, MAP_PRIVATE, descriptor, 0);
  }
  const int map_error = errno;
  ::close(descriptor);
  if (file_bytes_ < kLengthBytes) {
    fail(ErrorCode::kFormat, "{} has {} bytes, but a safetensors file has at least {}", path_,
         file_bytes_, kLengthBytes);
  }
  if (mapping == MAP_FAILED) {
    fail(ErrorCode::kMissing, "{} can't be mapped: {}", path_,
         std::generic_category().message(map_error));
  }
  mapping_ = static_cast<const std::byte*>(mapping);
}

void SafetensorsFile::read_header() {
  std::uint64_t header_bytes = 0;
  for (std::size_t i = kLengthBytes; i-- > 0;) {
    header_bytes = header_bytes << 8 | std::to_integer<std::uint64_t>(mapping_[i]);
  }
  if (header_bytes > kMaxHeaderBytes || header_bytes > file_bytes_ - kLengthBytes) {
    fail(ErrorCode::kFormat,
         "{} says that its header has {} bytes, but the file has {} bytes and a header at most {}",
         path_, header_bytes, file_bytes_, kMaxHeaderBytes);
  }
  const std::string_view text(reinterpret_cast<const char*>(mapping_ + kLengthBytes),
                              static_cast<std::size_t>(header_bytes));
  const nlohmann::json header = parse_json_object(text, "the header of " + path_);
  const std::byte* buffer = mapping_ + kLengthBytes + header_bytes;
  const std::size_t buffer_bytes =
      file_bytes_ - kLengthBytes - static_cast<std::size_t>(header_bytes);
  for (const auto& [name, entry] : header.items()) {
    if (name == "__metadata__") continue;
    TensorView view = read_entry(entry, Where{path_, name}, buffer_bytes);
    view.data = buffer + entry["data_offsets"][0].get<std::uint64_t>();
    tensors_.emplace(name, std::move(view));
  }
  check_coverage(tensors_, path_, buffer, buffer_bytes);
}

const TensorView* SafetensorsFile::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

const TensorView& SafetensorsFile::at(std::string_view name) const {
  const TensorView* view = find(name);
  if (view == nullptr) fail(ErrorCode::kFormat, "{} has no tensor '{}'", path_, name);
  return *view;
}

Checkpoint::Checkpoint(const std::filesystem::path& directory) : directory_(directory.string()) {
  if (!std::filesystem::is_directory(directory)) {
    fail(ErrorCode::kMissing,
         "{} is not a directory; a checkpoint is a directory with config.json "
         "and safetensors files",
         directory_);
  }
  const auto single = directory / "model.safetensors";
  const auto index = directory / "model.safetensors.index.json";
  if (std::filesystem::exists(single)) {
    auto file = std::make_unique<SafetensorsFile>(single);
    for (const auto& [name, view] : file->tensors()) shard_of_[name] = "model.safetensors";
    shards_["model.safetensors"] = std::move(file);
  } else if (std::filesystem::exists(index)) {
    read_index(index);
  } else {
    fail(ErrorCode::kMissing, "{} has neither model.safetensors nor model.safetensors.index.json",
         directory_);
  }
  for (const auto& [name, shard] : shard_of_) names_.push_back(name);
}

void Checkpoint::read_index(const std::filesystem::path& index) {
  const nlohmann::json json = read_json_object(index);
  const auto map = json.find("weight_map");
  if (map == json.end() || !map->is_object()) {
    fail(ErrorCode::kFormat, "{} has no object 'weight_map'", index.string());
  }
  for (const auto& [name, shard] : map->items()) {
    // A shard is a file of this directory: an index must not lead anywhere else.
    if (!shard.is_string() || shard.get_ref<const std::string&>().empty() ||
        shard.get_ref<const std::string&>().find('/') != std::string::npos) {
      fail(ErrorCode::kFormat, "{} gives tensor '{}' a shard that is not a plain file name",
           index.string(), name);
    }
    shard_of_[name] = shard.get<std::string>();
  }
}

bool Checkpoint::contains(std::string_view name) const {
  return shard_of_.find(name) != shard_of_.end();
}

const TensorView& Checkpoint::at(std::string_view name) const {
  const auto found = shard_of_.find(name);
  if (found == shard_of_.end()) {
    fail(ErrorCode::kFormat, "the checkpoint {} has no tensor '{}'", directory_, name);
  }
  const std::lock_guard lock(mutex_);
  auto& shard = shards_[found->second];
  if (shard == nullptr) {
    const auto path = std::filesystem::path(directory_) / found->second;
    if (!std::filesystem::exists(path)) {
      fail(ErrorCode::kMissing, "{} is not there, but tensor '{}' is in it", path.string(), name);
    }
    shard = std::make_unique<SafetensorsFile>(path);
  }
  return shard->at(name);
}

}  // namespace braid::model
