// Read access to safetensors files: one file, or a checkpoint directory of one or many.
//
// Files are mapped, so opening a checkpoint of hundreds of GB costs its headers only. A file is
// never trusted: whatever contradicts the format is an Error(kFormat) that names the file, and the
// tensor where there is one. A file must not be shortened while it is mapped.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "braid/tensor.hpp"

namespace braid::model {

// A tensor inside a mapped file. Valid as long as the file (or Checkpoint) that gave it.
struct TensorView {
  std::string name;
  std::string stored_dtype;         // as the file spells it: "BF16", "F8_E4M3", "F16", ...
  std::optional<DType> dtype;       // none for a type that Braid has no use for, such as F16
  std::vector<std::int64_t> shape;  // empty: a scalar
  const std::byte* data = nullptr;  // as the file has it: possibly unaligned
  std::size_t bytes = 0;
  std::string file;  // for messages

  std::int64_t num_elements() const;
  // "BF16 [64, 256]"
  std::string describe() const;
};

class SafetensorsFile {
 public:
  // Throws kMissing if the file can't be opened, kFormat if it isn't well-formed.
  explicit SafetensorsFile(const std::filesystem::path& path);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;

  const std::string& path() const { return path_; }
  // In ascending order of name.
  const std::map<std::string, TensorView, std::less<>>& tensors() const { return tensors_; }
  // Null if there is none of this name.
  const TensorView* find(std::string_view name) const;
  // Throws kFormat if there is none of this name.
  const TensorView& at(std::string_view name) const;

 private:
  void map_file();
  void read_header();

  std::string path_;
  const std::byte* mapping_ = nullptr;
  std::size_t file_bytes_ = 0;
  std::map<std::string, TensorView, std::less<>> tensors_;
};

// A checkpoint directory: model.safetensors, or the shards that model.safetensors.index.json names.
// A shard is opened when the first of its tensors is asked for, so the shards that hold the wanted
// layer are enough. Safe to use from several threads.
class Checkpoint {
 public:
  explicit Checkpoint(const std::filesystem::path& directory);

  const std::string& directory() const { return directory_; }
  bool contains(std::string_view name) const;
  // In ascending order.
  const std::vector<std::string>& names() const { return names_; }
  // Throws kFormat, naming the tensor, if there is none or its shard lacks it; kMissing if the
  // shard's file isn't there.
  const TensorView& at(std::string_view name) const;

 private:
  void read_index(const std::filesystem::path& index);

  std::string directory_;
  std::vector<std::string> names_;
  std::map<std::string, std::string, std::less<>> shard_of_;  // tensor to file name
  mutable std::mutex mutex_;                                  // guards shards_
  mutable std::map<std::string, std::unique_ptr<SafetensorsFile>> shards_;
};

}  // namespace braid::model
