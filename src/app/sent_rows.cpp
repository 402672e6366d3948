#include "app/sent_rows.hpp"

#include <algorithm>

#include "base/math.hpp"
#include "codec/row.hpp"
#include "codec/rows.hpp"

namespace braid::app {
namespace {

// Collects rows, and behind them their scales.
class RowBytes {
 public:
  void add(const EncodedTokens& from, int token) {
    append(rows_, from.data, from.data_bytes, token);
    append(scales_, from.scales, from.scale_bytes, token);
  }
  std::string finish() const { return rows_ + scales_; }

 private:
  static void append(std::string& all, const std::vector<std::byte>& from, std::size_t bytes,
                     int token) {
    all.append(reinterpret_cast<const char*>(from.data()) + static_cast<std::size_t>(token) * bytes,
               bytes);
  }
  std::string rows_, scales_;
};

struct Source {
  Routing routing;
  EncodedTokens tokens;
};

bool names(const Routing& routing, int token, int expert) {
  const auto first = routing.topk_idx.begin() + std::ptrdiff_t{token} * routing.top_k;
  return std::find(first, first + routing.top_k, expert) != first + routing.top_k;
}

std::string sent_by_source(const BenchOptions& options, const BenchCase& bench, int rank,
                           const std::vector<Source>& sources) {
  RowBytes sent;
  for (const Source& source : sources) {
    for (int token = 0; token < options.tokens; ++token) {
      const std::vector<int> ranks = ranks_of_token(options, bench, source.routing, token);
      if (std::find(ranks.begin(), ranks.end(), rank) != ranks.end())
        sent.add(source.tokens, token);
    }
  }
  return sent.finish();
}

std::string sent_by_expert(const BenchOptions& options, const BenchCase& bench, int rank,
                           const std::vector<Source>& sources) {
  RowBytes sent;
  std::vector<std::int32_t> experts;
  const int num_local = bench.shape.experts / options.communication.ranks;
  for (std::int32_t local = 0; local < num_local; ++local) {
    for (const Source& source : sources) {
      for (int token = 0; token < options.tokens; ++token) {
        if (!names(source.routing, token, rank * num_local + local)) continue;
        sent.add(source.tokens, token);
        experts.push_back(local);
      }
    }
    const auto alignment = static_cast<std::size_t>(options.communication.alignment());
    experts.resize(round_up(experts.size(), alignment), -1);
  }
  return std::string(reinterpret_cast<const char*>(experts.data()),
                     experts.size() * sizeof(experts[0])) +
         sent.finish();
}

}  // namespace

EncodedTokens encode(DispatchFormat format, int hidden, const std::vector<std::uint16_t>& tokens) {
  const auto row_channels = static_cast<std::size_t>(hidden);
  const std::size_t num_tokens = tokens.size() / row_channels;
  EncodedTokens encoded{
      {},
      {},
      static_cast<std::size_t>(codec::dispatch_data_bytes(format, hidden)),
      static_cast<std::size_t>(codec::dispatch_scale_bytes(format, hidden)),
  };
  encoded.data.resize(num_tokens * encoded.data_bytes);
  encoded.scales.resize(num_tokens * encoded.scale_bytes);
  const codec::RowKernels& kernels = codec::row_kernels();
  for (std::size_t token = 0; token < num_tokens; ++token) {
    kernels.encode_dispatch(format, tokens.data() + token * row_channels, hidden,
                            encoded.data.data() + token * encoded.data_bytes,
                            encoded.scales.data() + token * encoded.scale_bytes);
  }
  return encoded;
}

std::string sent_rows(const BenchOptions& options, const BenchCase& bench, int rank, int set) {
  std::vector<Source> sources;
  for (int source = 0; source < options.communication.ranks; ++source) {
    BenchInputs inputs = bench_inputs(options, bench, source, set);
    sources.push_back({std::move(inputs.routing),
                       encode(options.communication.dispatch, bench.shape.hidden, inputs.tokens)});
  }
  return options.communication.expanded() ? sent_by_expert(options, bench, rank, sources)
                                          : sent_by_source(options, bench, rank, sources);
}

std::string rows_by_expert(const std::vector<std::int32_t>& experts, const std::string& rows,
                           const std::string& scales) {
  std::string all(reinterpret_cast<const char*>(experts.data()),
                  experts.size() * sizeof(experts[0]));
  all.reserve(all.size() + rows.size() + scales.size());
  for (const std::string* part : {&rows, &scales}) {
    const std::size_t bytes = experts.empty() ? 0 : part->size() / experts.size();
    for (std::size_t row = 0; row < experts.size(); ++row) {
      if (experts[row] >= 0) all.append(*part, row * bytes, bytes);
    }
  }
  return all;
}

}  // namespace braid::app
