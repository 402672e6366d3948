// Nested sums by a warp, of rows in global memory: a step of two vectors a lane is summed while the
// next steps of all rows are on their way into a ring in shared memory. Each lane copies what it
// sums itself, so no lane waits for another one. The bits are the codec's.
#pragma once

#include "backend/cuda/combine_rows.cuh"
#include "ptx/async_copy.cuh"

namespace braid::cuda {

inline constexpr int kMostStepsAhead = 3;

// A warp's ring: room for so many steps of a row.
struct StepRing {
  uint4* at = nullptr;
  int steps = 0;
};

__device__ inline void start_pair(std::uint32_t pair, float weight, float& low, float& high) {
  low = codec::mul_rn(weight, codec::bf16_to_float(static_cast<std::uint16_t>(pair)));
  high = codec::mul_rn(weight, codec::float_from_bits(pair & 0xffff0000u));
}

// A lane's two vectors of a step.
struct LaneVectors {
  uint4 x[2];
};

__device__ inline LaneVectors loaded(const uint4* at) { return {at[0], at[kWarpLanes]}; }
__device__ inline void add(const LaneVectors& row, float weight, float (&sums)[2][8]) {
  add_eight(row.x[0], weight, sums[0]);
  add_eight(row.x[1], weight, sums[1]);
}
// The first row of a sum, whose zeros may be negative.
__device__ inline void start(const LaneVectors& row, float weight, float (&sums)[2][8]) {
#pragma unroll
  for (int i = 0; i < 2; ++i) {
    start_pair(row.x[i].x, weight, sums[i][0], sums[i][1]);
    start_pair(row.x[i].y, weight, sums[i][2], sums[i][3]);
    start_pair(row.x[i].z, weight, sums[i][4], sums[i][5]);
    start_pair(row.x[i].w, weight, sums[i][6], sums[i][7]);
  }
}
// But for its NaN.
__device__ inline LaneVectors rounded(const float (&sums)[2][8]) {
  return {eight_rounded(sums[0]), eight_rounded(sums[1])};
}
// The one term of a sum that starts at +0.
__device__ inline uint4 one_sum_of(const uint4& a) {
  return {ptx::add_rn_bf16x2(a.x, 0u), ptx::add_rn_bf16x2(a.y, 0u), ptx::add_rn_bf16x2(a.z, 0u),
          ptx::add_rn_bf16x2(a.w, 0u)};
}

// The terms in their order, of which there are not two.
__device__ inline LaneVectors sum_of_terms(const machine::NestedSum& sum, const LaneVectors& inner,
                                           const uint4* plain) {
  float sums[2][8] = {};
#pragma unroll 1
  for (int i = 0; i <= sum.num_plain; ++i) {
    if (i == sum.inner_at && sum.num_inner > 0) add(inner, 1.0F, sums);
    if (i < sum.num_plain) add(loaded(plain + i * kStepVectors), 1.0F, sums);
  }
  return rounded(sums);
}

// One lane's vectors of a step, whose rows stand behind each other.
__device__ inline LaneVectors nested_sum_of(const machine::NestedSum& sum, const uint4* rows) {
  LaneVectors out = {};
  if (sum.num_inner > 0) {
    float sums[2][8];
    start(loaded(rows), sum.weights[0], sums);
#pragma unroll 2
    for (int i = 1; i < sum.num_inner; ++i) {
      add(loaded(rows + i * kStepVectors), sum.weights[i], sums);
    }
    out = rounded(sums);
  }
  const uint4* plain = rows + sum.num_inner * kStepVectors;
  if (sum.num_plain == 1 && sum.num_inner > 0) {
    const LaneVectors other = loaded(plain);
    out = {two_sums_of(out.x[0], other.x[0]), two_sums_of(out.x[1], other.x[1])};
  } else if (sum.num_plain > 0) {
    out = sum_of_terms(sum, out, plain);
  } else {
    out = {one_sum_of(out.x[0]), one_sum_of(out.x[1])};
  }
  take_codec_nan(out.x);
  return out;
}

// Rows of a sum, and where a lane's next vectors of them go.
class NestedSteps {
 public:
  __device__ NestedSteps(const machine::NestedSum& sum, const StepRing& ring)
      : sum_(sum),
        ring_(ring.at + lane()),
        rows_(sum.num_inner + sum.num_plain),
        ahead_(min_of(ring.steps / max_of(rows_, 1), kMostStepsAhead)) {}

  // The ring has no room for all rows.
  __device__ bool is_too_wide() const { return ahead_ == 0; }
  // Calls put(step, vectors) for each step, of which lanes past the row's end have none.
  template <class Put>
  __device__ void run(Put&& put) {
    for (int step = 0; step < ahead_; ++step) begin(step, step);
    int place = 0;
#pragma unroll 1
    for (int step = 0; step < steps(); ++step) {
      await_oldest();
      const LaneVectors x = nested_sum_of(sum_, ring_ + place * rows_ * kStepVectors);
      begin(step + ahead_, place);
      place = place + 1 == ahead_ ? 0 : place + 1;
      put(step, x);
    }
  }
  // The same by ordinary loads.
  template <class Put>
  __device__ void run_directly(Put&& put) const {
#pragma unroll 1
    for (int step = 0; step < steps(); ++step) {
      float inner[2][8] = {}, sums[2][8] = {};
#pragma unroll 1
      for (int i = 0; i < sum_.num_inner; ++i) add(from_row(i, step), sum_.weights[i], inner);
#pragma unroll 1
      for (int i = 0; i <= sum_.num_plain; ++i) {
        if (i == sum_.inner_at && sum_.num_inner > 0) add(rounded(inner), 1.0F, sums);
        if (i < sum_.num_plain) add(from_row(sum_.num_inner + i, step), 1.0F, sums);
      }
      LaneVectors out = rounded(sums);
      take_codec_nan(out.x);
      put(step, out);
    }
  }

 private:
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarpLanes; }
  __device__ int vectors() const { return sum_.hidden / 8; }
  __device__ int steps() const { return (vectors() + kStepVectors - 1) / kStepVectors; }
  // The lane's i-th of a step, or the row's last.
  __device__ int vector_of(int step, int i) const {
    return min_of(step * kStepVectors + i * kWarpLanes + lane(), vectors() - 1);
  }
  __device__ const uint4* row(int i) const { return reinterpret_cast<const uint4*>(sum_.rows[i]); }
  __device__ LaneVectors from_row(int i, int step) const {
    return {row(i)[vector_of(step, 0)], row(i)[vector_of(step, 1)]};
  }
  // Two groups a step where there are two ahead, so that as many are left as of three.
  __device__ void commit() const {
    ptx::async_commit_group();
    if (ahead_ == 2) ptx::async_commit_group();
  }
  __device__ void await_oldest() const {
    if (ahead_ > 1) {
      ptx::async_wait_group<2>();
    } else {
      ptx::async_wait_group<0>();
    }
  }
  __device__ void begin(int step, int place) const {
    const int at = step * kStepVectors + lane();
    uint4* to = ring_ + place * rows_ * kStepVectors;
    if (at + kWarpLanes < vectors()) {
#pragma unroll 2
      for (int i = 0; i < rows_; ++i) {
        const uint4* from = row(i) + at;
        ptx::async_copy_global_to_shared(to + i * kStepVectors, from);
        ptx::async_copy_global_to_shared(to + i * kStepVectors + kWarpLanes, from + kWarpLanes);
      }
    } else if (at < vectors()) {
#pragma unroll 1
      for (int i = 0; i < rows_; ++i) {
        ptx::async_copy_global_to_shared(to + i * kStepVectors, row(i) + at);
      }
    }
    commit();
  }

  const machine::NestedSum& sum_;
  uint4* ring_;
  int rows_;
  int ahead_;  // steps
};

}  // namespace braid::cuda
