#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.hpp"
#include "bench_vs_mpi/exchange.hpp"
#include "bench_vs_mpi/mpi_tools.hpp"
#include "braid/buffer.hpp"

namespace braid::bench {

namespace {

constexpr const char* kAddress = "127.0.0.1";

// A port that was free a moment ago.
int find_free_port() {
  const int socket = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  BRAID_CHECK(socket >= 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  inet_pton(AF_INET, kAddress, &address.sin_addr);
  socklen_t length = sizeof address;
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const bool found =
      ::bind(socket, generic, length) == 0 && ::getsockname(socket, generic, &length) == 0;
  ::close(socket);
  BRAID_CHECK(found);
  return ntohs(address.sin_port);
}

Group connect(const Problem& problem, MPI_Comm comm) {
  int port = rank_in(comm) == 0 ? find_free_port() : 0;
  MPI_Bcast(&port, 1, MPI_INT, 0, comm);
  return Group::connect(rank_in(comm), {problem.ranks, problem.ranks}, kAddress, port);
}

BufferOptions buffer_options(const Problem& problem) {
  BufferOptions options;
  options.num_experts = problem.experts;
  options.max_tokens = problem.tokens;
  options.hidden = problem.hidden;
  options.top_k = problem.top_k;
  return options;
}

class BraidSide final : public Exchange {
 public:
  BraidSide(const Problem& problem, MPI_Comm comm)
      : problem_(problem),
        group_(connect(problem, comm)),
        buffer_(group_, buffer_options(problem)),
        stream_(Stream::cpu()) {}

  const char* name() const override { return "braid"; }

  void dispatch(const Batch& batch, ExpertRows& rows) override {
    DispatchInput input;
    input.x = {batch.x.data(), DType::kBFloat16, {problem_.tokens, problem_.hidden}};
    input.topk_idx = {const_cast<std::int32_t*>(batch.topk_idx.data()),
                      DType::kInt32,
                      {problem_.tokens, problem_.top_k}};
    input.topk_weights = weights(batch);
    DispatchOutput output;
    output.x = experts_rows(rows.x.data());
    output.counts = {rows.counts.data(), DType::kInt32, {problem_.num_local()}};
    DispatchOptions options;
    options.format = DispatchFormat::kBf16;
    options.fan_out = FanOut::kPerRank;
    handle_ = buffer_.dispatch(input, output, options, stream_);
    stream_.synchronize();
  }

  void combine(const Batch& batch, const Bf16* y, Bf16* result) override {
    CombineInput input;
    input.x = experts_rows(const_cast<Bf16*>(y));
    input.topk_weights = weights(batch);
    CombineOutput output;
    output.x = {result, DType::kBFloat16, {problem_.tokens, problem_.hidden}};
    CombineOptions options;
    options.reduce = Reduce::kExpertRank;
    buffer_.combine(handle_, input, output, options, stream_);
    stream_.synchronize();
  }

 private:
  // A Tensor is a view that inputs and outputs share; inputs are not written.
  Tensor weights(const Batch& batch) const {
    return {const_cast<float*>(batch.topk_weights.data()),
            DType::kFloat32,
            {problem_.tokens, problem_.top_k}};
  }
  Tensor experts_rows(Bf16* rows) const {
    return {rows, DType::kBFloat16, {problem_.num_local(), problem_.capacity(), problem_.hidden}};
  }

  Problem problem_;
  Group group_;
  Buffer buffer_;
  Stream stream_;
  Handle handle_;
};

}  // namespace

std::unique_ptr<Exchange> make_braid(const Problem& problem, MPI_Comm comm) {
  return std::make_unique<BraidSide>(problem, comm);
}

}  // namespace braid::bench
