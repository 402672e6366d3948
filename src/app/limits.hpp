// How far a result may be from its reference, as model::diff.
#pragma once

#include <cstdint>
#include <vector>

#include "app/options.hpp"
#include "app/report.hpp"

namespace braid::app {

inline constexpr double kBf16Limit = 1e-5;         // BF16 roundings of rows and results
inline constexpr double kIdentityFp8Limit = 9e-4;  // FP8's own error, seen as it is
inline constexpr double kFfnFp8Limit = 2e-3;       // the same through a feed-forward network
inline constexpr double kLogFmtAllowance = 2e-4;   // what a LogFMT combine adds

// Against a reference that sees the tokens as they are.
double reference_limit(const CommunicationOptions& options, double fp8_limit);
// Against a reference that sees them as dispatch rounds them.
double rounded_limit(const CommunicationOptions& options);

bool all_hold(const std::vector<Comparison>& comparisons);

// A BF16 row as it comes out of dispatch.
void round_row(DispatchFormat format, const std::uint16_t* row, int hidden, float* seen);

}  // namespace braid::app
