#include "backend/cuda/kernels.hpp"

#include "backend/cuda/block_kernels.hpp"
#include "backend/cuda/generic_kernels.hpp"
#include "backend/cuda/throughput_kernels.hpp"

namespace braid::cuda {

void load_kernels() {
  generic::load_kernels();
  block::load_dispatch();
  block::load_combine();
  load_throughput();
}

void launch_dispatch_send(const DispatchKernelArgs& args, cudaStream_t stream) {
  (block::takes(args.dispatch) ? block::launch_dispatch_send : generic::launch_dispatch_send)(
      args, stream);
}
void launch_dispatch_receive(const DispatchKernelArgs& args, cudaStream_t stream) {
  (block::takes(args.dispatch) ? block::launch_dispatch_receive : generic::launch_dispatch_receive)(
      args, stream);
}
void launch_dispatch(const DispatchKernelArgs& args, cudaStream_t stream) {
  (block::takes(args.dispatch) ? block::launch_dispatch : generic::launch_dispatch)(args, stream);
}
void launch_combine_send(const CombineKernelArgs& args, cudaStream_t stream) {
  (block::takes(args.combine) ? block::launch_combine_send : generic::launch_combine_send)(args,
                                                                                           stream);
}
void launch_combine_receive(const CombineKernelArgs& args, cudaStream_t stream) {
  (block::takes(args.combine) ? block::launch_combine_receive : generic::launch_combine_receive)(
      args, stream);
}
void launch_combine(const CombineKernelArgs& args, cudaStream_t stream) {
  if (block::takes(args.combine)) return block::launch_combine(args, stream);
  generic::launch_combine_send(args, stream);
  generic::launch_combine_receive(args, stream);
}

}  // namespace braid::cuda
