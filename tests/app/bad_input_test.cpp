// Bad input is refused with one sentence and exit status 2, before anything is sent.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string>

#include "program.hpp"
#include "support/safetensors_writer.hpp"
#include "support/temp_dir.hpp"

namespace braid::test {
namespace {

constexpr const char* kQwen = "qwen3_moe_layer";

// The sentence of a refusal; everything about a refusal's form is checked here.
std::string refusal(const Words& arguments) {
  const Ended ended = braid(arguments);
  EXPECT_EQ(ended.status, 2) << testing::PrintToString(arguments) << ended.err;
  EXPECT_EQ(ended.out, "") << testing::PrintToString(arguments);
  EXPECT_EQ(std::count(ended.err.begin(), ended.err.end(), '\n'), 1) << ended.err;
  EXPECT_TRUE(ended.err.starts_with("braid: ")) << ended.err;
  return ended.err;
}

struct Bad {
  Words arguments;
  Words named;  // what the sentence has to contain
};

void expect_refused(const std::vector<Bad>& table) {
  for (const Bad& bad : table) {
    const std::string sentence = refusal(bad.arguments);
    for (const std::string& part : bad.named) {
      EXPECT_NE(sentence.find(part), std::string::npos)
          << testing::PrintToString(bad.arguments) << " says: " << sentence << " not: " << part;
    }
  }
}

TEST(BadInput, OptionsOfRun) {
  const auto run = [](const Words& more) { return run_of(kQwen, more); };
  expect_refused({
      {run({"--ranks", "6"}), {"--ranks", "6", "32"}},
      {run({"--ranks", "64"}), {"--ranks", "64", "32"}},
      {run({"--ranks", "8", "--ranks-per-node", "3"}), {"--ranks-per-node", "3", "8"}},
      {run({"--ranks", "4", "--ranks-per-node", "8"}), {"--ranks-per-node", "8", "4"}},
      {run({"--ranks", "0"}), {"--ranks", "0", "1"}},
      {run({"--ranks", "-8"}), {"--ranks", "-8"}},
      {run({"--ranks", "eight"}), {"--ranks", "eight"}},
      {run({"--ranks", "8.5"}), {"--ranks", "8.5"}},
      {run({"--ranks", "99999999999999999999"}), {"--ranks", "99999999999999999999"}},
      {run({"--ranks", ""}), {"--ranks"}},
      {run({"--ranks-per-node", "0"}), {"--ranks-per-node", "0"}},
      {run({"--rounds", "3"}), {"--rounds", "3", "4"}},
      {run({"--rounds", "8"}), {"--rounds", "8", "4"}},
      {run({"--rounds", "0"}), {"--rounds", "0"}},
      {run({"--workers", "0"}), {"--workers", "0"}},
      {run({"--tokens", "0"}), {"--tokens", "0"}},
      {run({"--tokens", "-1"}), {"--tokens", "-1"}},
      {run({"--tokens", "97"}), {"--tokens", "97", "96"}},
      {run({"--repeat", "0"}), {"--repeat", "0"}},
      {run({"--seed", "-1"}), {"--seed", "-1"}},
      {run({"--timeout", "0"}), {"--timeout", "0"}},
      {run({"--mode", "normal"}), {"--mode", "normal", "low_latency", "high_throughput"}},
      {run({"--mode", "high_throughput", "--ranks", "4", "--ranks-per-node", "2"}),
       {"--ranks-per-node", "high_throughput", "one node"}},
      {run({"--rows", "source"}), {"--rows", "source", "low_latency"}},
      {run({"--mode", "high_throughput", "--rows", "rank"}),
       {"--rows", "rank", "source", "expert"}},
      {run({"--mode", "high_throughput", "--alignment", "8"}),
       {"--alignment", "8", "--rows expert"}},
      {run({"--mode", "high_throughput", "--rows", "expert", "--alignment", "0"}),
       {"--alignment", "0"}},
      {run({"--mode", "high_throughput", "--rows", "expert", "--alignment", "2000000000"}),
       {"--alignment", "2000000000", "31 bits"}},
      {run({"--mode", "high_throughput", "--combine", "logfmt10"}),
       {"--combine", "logfmt10", "bf16 only"}},
      {run({"--path", "layered"}), {"--path", "layered", "direct"}},
      {run({"--path", "auto"}), {"--path", "auto", "direct"}},
      {run({"--fan-out", "per_node"}), {"--fan-out", "per_node", "per_rank", "per_expert", "auto"}},
      {run({"--reduce", "expert_node"}), {"--reduce", "expert_node", "token_rank", "expert_rank"}},
      {run({"--dispatch", "fp4"}), {"--dispatch", "fp4", "bf16", "fp8", "fp8_pow2", "fp8_ue8m0"}},
      {run({"--scales", "both"}), {"--scales", "both", "row", "column"}},
      {run({"--backend", "cuda"}), {"--backend", "cuda", "CPU only so far"}},
      {run({"--backend", "gpu"}), {"--backend", "gpu", "cpu", "cuda"}},
      {run({"--devices", "0"}), {"--devices"}},
      {run({"--combine", "fp8"}), {"--combine", "fp8", "bf16", "logfmt10"}},
      {run({"--layer-index", "7"}), {"7"}},
      {run({"--layer-index", "-1"}), {"--layer-index", "-1"}},
      {run({"--layer-index", "x"}), {"--layer-index", "x"}},
      {run({"--no-such-option"}), {"--no-such-option"}},
      {run({"stray"}), {"stray"}},
      {run({"--ranks"}), {"--ranks"}},
      {run({"--ranks", "8", "--ranks", "4"}), {"--ranks"}},
      {{"run"}, {"--layer"}},
      {{"run", "--layer", ""}, {"--layer"}},
      {{"run", "--layer", "/no/such/directory"}, {"/no/such/directory"}},
      {{"run", "--layer", "/dev/null"}, {"/dev/null"}},
      {{}, {"run", "bench", "plan"}},
      {{"walk"}, {"walk"}},
      {{"--ranks", "8"}, {"--ranks"}},
  });
}

TEST(BadInput, OptionsOfBench) {
  const auto bench = [](const Words& more) {
    return joined({"bench", "--ranks", "4", "--hidden", "256", "--experts", "8", "--tokens", "2",
                   "--repeat", "1"},
                  more);
  };
  expect_refused({
      {bench({"--topk", "33"}), {"33", "32"}},
      {bench({"--topk", "9"}), {"9", "8"}},
      {bench({"--topk", "0"}), {"--topk", "0"}},
      {{"bench", "--hidden", "200"}, {"200", "128", "fp8"}},
      {{"bench", "--hidden", "204", "--dispatch", "bf16"}, {"204", "8"}},
      {{"bench", "--hidden", "200", "--dispatch", "bf16", "--combine", "logfmt10"},
       {"200", "128", "logfmt10"}},
      {{"bench", "--experts", "10"}, {"10", "8"}},
      {{"bench", "--experts", "4"}, {"4", "8"}},
      {bench({"--rounds", "4"}), {"--rounds", "4", "2"}},
      {bench({"--routing", "sometimes"}), {"sometimes"}},
      {bench({"--routing", data(kQwen).string()}), {kQwen}},
      {bench({"--routing", (data(kQwen) / "inputs.safetensors").string()}), {"topk_idx"}},
      {bench({"--routing", (data(kQwen) / "expected.safetensors").string()}), {"topk_idx", "7"}},
      {bench({"--layer", "x"}), {"--layer"}},
      {bench({"--backend", "gpu"}), {"--backend", "gpu", "cpu or cuda"}},
      {bench({"--backend", ""}), {"--backend"}},
      {bench({"--send-workers", "-1"}), {"--send-workers", "-1", "0"}},
      {bench({"--receive-workers", "-24"}), {"--receive-workers", "-24", "0"}},
      {bench({"--receive-workers", "some"}), {"--receive-workers", "some"}},
      {bench({"--devices", "0,1,2,3"}), {"--devices", "4", "cpu"}},
      {bench({"--backend", "cuda", "--devices", "0,1"}), {"--devices", "2", "4"}},
      {bench({"--backend", "cuda", "--devices", "0,,1"}), {"--devices", "''", "0"}},
      {bench({"--backend", "cuda", "--devices", "0,-1"}), {"--devices", "-1", "0"}},
      {bench({"--backend", "cuda", "--devices", ""}), {"--devices"}},
      {bench({"--sets", "4"}), {"--sets", "4", "cuda"}},
      {bench({"--backend", "cuda", "--sets", "0"}), {"--sets", "0"}},
      {bench({"--backend", "cuda", "--mode", "high_throughput", "--send-workers", "24"}),
       {"--send-workers", "--workers"}},
      {bench({"--backend", "cuda", "--mode", "high_throughput", "--dispatch", "fp8_ue8m0"}),
       {"--dispatch", "fp8_ue8m0", "bf16 and fp8"}},
      {{"bench", "--backend", "cuda", "--mode", "high_throughput", "--tokens", "2000000000"},
       {"2000000000"}},
      {bench({"--backend", "cuda", "--sets", "5000"}), {"--sets", "5000", "4096"}},
      {{"bench", "--tokens", "2000000000"}, {"2000000000"}},
  });
}

// Of the build where it has no CUDA, else of the machine where it has no GPU; these tests run on
// such machines alone.
TEST(BadInput, CudaThatIsNotThereIsNamed) {
  const Words bench = {"bench", "--backend", "cuda", "--ranks", "2", "--tokens", "2"};
  for (const Words& more : {Words{}, Words{"--processes"}, Words{"--devices", "0,0"},
                            Words{"--mode", "high_throughput"},
                            Words{"--mode", "high_throughput", "--workers", "24"}}) {
    const std::string sentence = refusal(joined(bench, more));
    const bool build = sentence.find("which this build is without") != std::string::npos;
    const bool machine = sentence.find("no CUDA device is there") != std::string::npos;
    EXPECT_TRUE(build || machine) << sentence;
  }
}

TEST(BadInput, OptionsOfPlan) {
  expect_refused({
      {{"plan", "--ranks", "6"}, {"--ranks", "6", "64"}},
      {{"plan", "--ranks-per-node", "5"}, {"--ranks-per-node", "5", "8"}},
      {{"plan", "--hidden", "100"}, {"100", "128"}},
      {{"plan", "--topk", "40"}, {"40", "32"}},
      {{"plan", "--depth", "0"}, {"--depth", "0"}},
      {{"plan", "--rounds", "3"}, {"--rounds", "3", "8"}},
      {{"plan", "--dispatch", "int8"}, {"int8", "fp8_ue8m0"}},
      {{"plan", "--tokens", "2000000000"}, {"2000000000"}},
  });
}

TEST(BadInput, AReportThatCantBeWrittenIsRefusedBeforeTheRun) {
  const TempDir folder;
  expect_refused({
      {run_of(kQwen, {"--json", "/no/such/folder/report.json"}), {"--json", "/no/such/folder"}},
      {run_of(kQwen, {"--json", folder.path().string()}), {"--json"}},
      {run_of(kQwen, {"--json", ""}), {"--json"}},
      {{"plan", "--json", "/no/such/folder/report.json"}, {"--json"}},
  });
}

TEST(BadInput, LeavesNoEmptyReportAndAnOldOneAsItWas) {
  const TempDir folder;
  const auto fresh = folder / "fresh.json";
  refusal(run_of(kQwen, {"--ranks", "6", "--json", fresh.string()}));
  EXPECT_FALSE(std::filesystem::exists(fresh));
  const auto old = folder / "old.json";
  std::ofstream(old) << "kept";
  refusal(run_of(kQwen, {"--ranks", "6", "--json", old.string()}));
  EXPECT_EQ(std::filesystem::file_size(old), 4U);
}

// A copy of a layer with one change.
class BadLayer : public testing::Test {
 protected:
  BadLayer() {
    std::filesystem::copy(data(kQwen), folder_.path(), std::filesystem::copy_options::recursive);
  }
  std::string refusal_of_run() const {
    return refusal({"run", "--layer", folder_.path().string()});
  }
  // Rewrites the checkpoint after `change` had its tensors.
  template <class Change>
  void change_tensors(Change change) {
    auto tensors = read_tensors(folder_.path());
    change(tensors);
    write_safetensors(folder_ / "model.safetensors", tensors);
  }
  TempDir folder_;
};

StoredTensor& named(std::vector<StoredTensor>& tensors, const std::string& ending) {
  return *std::find_if(tensors.begin(), tensors.end(),
                       [&](const StoredTensor& tensor) { return tensor.name.ends_with(ending); });
}

void expect_names(const std::string& sentence, const Words& parts) {
  for (const std::string& part : parts) {
    EXPECT_NE(sentence.find(part), std::string::npos) << sentence << " lacks " << part;
  }
}

TEST_F(BadLayer, WithoutConfig) {
  std::filesystem::remove(folder_ / "config.json");
  expect_names(refusal_of_run(), {"config.json"});
}

TEST_F(BadLayer, WithoutCheckpoint) {
  std::filesystem::remove(folder_ / "model.safetensors");
  expect_names(refusal_of_run(), {"model.safetensors"});
}

TEST_F(BadLayer, WithoutOneTensor) {
  change_tensors([](auto& tensors) {
    std::erase_if(tensors, [](const StoredTensor& tensor) {
      return tensor.name.ends_with("experts.17.up_proj.weight");
    });
  });
  expect_names(refusal_of_run(), {"experts.17.up_proj.weight"});
}

TEST_F(BadLayer, WithAnotherType) {
  change_tensors([](auto& tensors) { named(tensors, "experts.5.down_proj.weight").dtype = "F16"; });
  expect_names(refusal_of_run(), {"experts.5.down_proj.weight", "F16"});
}

TEST_F(BadLayer, WithAnotherShape) {
  change_tensors([](auto& tensors) {
    StoredTensor& tensor = named(tensors, "experts.5.down_proj.weight");
    std::swap(tensor.shape[0], tensor.shape[1]);
  });
  expect_names(refusal_of_run(), {"experts.5.down_proj.weight", "64, 256"});
}

TEST_F(BadLayer, CutShort) {
  for (const char* file : {"model.safetensors", "inputs.safetensors", "expected.safetensors"}) {
    const auto path = folder_ / file;
    const auto size = std::filesystem::file_size(path);
    for (const std::uintmax_t kept :
         {size - 1, size / 2, std::uintmax_t{100}, std::uintmax_t{4}, std::uintmax_t{0}}) {
      std::filesystem::resize_file(path, kept);
      expect_names(refusal_of_run(), {file});
    }
    std::filesystem::copy_file(data(kQwen) / file, path,
                               std::filesystem::copy_options::overwrite_existing);
  }
}

TEST_F(BadLayer, WithInputsOfAnotherWidth) {
  write_safetensors(
      folder_ / "inputs.safetensors",
      {make_tensor<std::uint16_t>("hidden_states", "BF16", {1, 8}, std::vector<std::uint16_t>(8))});
  expect_names(refusal_of_run(), {"hidden_states", "8"});
}

TEST_F(BadLayer, WithInputsThatAreNoNumbers) {
  write_safetensors(folder_ / "inputs.safetensors",
                    {make_tensor<std::uint16_t>("hidden_states", "BF16", {1, 256},
                                                std::vector<std::uint16_t>(256, 0x7fc0))});
  std::filesystem::remove(folder_ / "expected.safetensors");
  expect_names(refusal_of_run(), {"token 0"});
}

}  // namespace
}  // namespace braid::test
