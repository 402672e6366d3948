#include "support/safetensors_writer.hpp"

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "model/safetensors.hpp"

namespace braid::test {
namespace {

void write_length(std::ofstream& stream, std::uint64_t length) {
  std::array<char, 8> bytes{};
  for (char& byte : bytes) {
    byte = static_cast<char>(length & 0xff);
    length >>= 8;
  }
  stream.write(bytes.data(), bytes.size());
}

std::ofstream open_for_writing(const std::filesystem::path& path) {
  std::ofstream stream(path, std::ios::binary);
  if (!stream) throw std::runtime_error("can't write " + path.string());
  return stream;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const std::vector<StoredTensor>& tensors,
                       int extra_spaces) {
  nlohmann::json header = nlohmann::json::object();
  std::size_t offset = 0;
  for (const StoredTensor& tensor : tensors) {
    header[tensor.name] = {{"dtype", tensor.dtype},
                           {"shape", tensor.shape},
                           {"data_offsets", {offset, offset + tensor.bytes.size()}}};
    offset += tensor.bytes.size();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8 + static_cast<std::size_t>(extra_spaces), ' ');
  std::ofstream stream = open_for_writing(path);
  write_length(stream, text.size());
  stream << text;
  for (const StoredTensor& tensor : tensors) {
    stream.write(reinterpret_cast<const char*>(tensor.bytes.data()),
                 static_cast<std::streamsize>(tensor.bytes.size()));
  }
}

void write_raw(const std::filesystem::path& path, std::string_view header, std::size_t data_bytes) {
  std::ofstream stream = open_for_writing(path);
  write_length(stream, header.size());
  stream << header << std::string(data_bytes, '\1');
}

std::vector<StoredTensor> read_tensors(const std::filesystem::path& directory) {
  const model::Checkpoint checkpoint(directory);
  std::vector<StoredTensor> tensors;
  for (const std::string& name : checkpoint.names()) {
    const model::TensorView& view = checkpoint.at(name);
    tensors.push_back({name, view.stored_dtype, view.shape, {view.data, view.data + view.bytes}});
  }
  return tensors;
}

}  // namespace braid::test
