#include "expert/panel_gemm.hpp"

#include "base/check.hpp"

namespace braid::expert {

PanelGemm panel_gemm(ExpertEngine engine) {
  switch (engine) {
    case ExpertEngine::kOneDnn: return panel_gemm_onednn;
    case ExpertEngine::kPlain: return panel_gemm_plain;
  }
  fail(ErrorCode::kInvalidArgument, "engine is {}, but must be kOneDnn or kPlain",
       static_cast<int>(engine));
}

}  // namespace braid::expert
