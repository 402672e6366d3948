// Making safetensors files and checkpoints, good and bad ones, for tests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace braid::test {

struct StoredTensor {
  std::string name;
  std::string dtype;  // as the format spells it: "BF16", "F32", ...
  std::vector<std::int64_t> shape;
  std::vector<std::byte> bytes;
};

template <class T>
StoredTensor make_tensor(std::string name, std::string dtype, std::vector<std::int64_t> shape,
                         const std::vector<T>& values) {
  StoredTensor tensor{std::move(name), std::move(dtype), std::move(shape), {}};
  tensor.bytes.resize(values.size() * sizeof(T));
  if (!values.empty()) std::memcpy(tensor.bytes.data(), values.data(), tensor.bytes.size());
  return tensor;
}

// Tensors lie in the given order. extra_spaces pads the header, and so moves the data: an odd
// number leaves every tensor unaligned.
void write_safetensors(const std::filesystem::path& path, const std::vector<StoredTensor>& tensors,
                       int extra_spaces = 0);

// A file of this header and this many bytes of data, whatever the header says.
void write_raw(const std::filesystem::path& path, std::string_view header,
               std::size_t data_bytes = 0);

// All tensors of a checkpoint directory, to change and write again.
std::vector<StoredTensor> read_tensors(const std::filesystem::path& directory);

}  // namespace braid::test
