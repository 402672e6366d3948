// The row kernels' one source. rows_<set>.cpp includes this inside a namespace of its own, after
// everything else and with the compiler told which instructions it may use. So: no #include here,
// no template of the standard library (its instances would be shared with code that must run on
// any processor), and nothing but what a vectorizer can turn into straight lines: short loops of
// fixed length over local arrays.

namespace {

constexpr int kBlock = 128;  // channels whose sums stay in the first-level cache

struct Magnitudes {
  std::uint16_t largest = 0;
  std::uint16_t smallest = 0;  // of those that are not zero; 0 if none
};

inline Magnitudes magnitudes_of(const std::uint16_t* x) {
  std::uint16_t largest = 0;
  std::uint16_t smallest = 0xffff;  // less one, so that zero wraps round to the largest
  for (int i = 0; i < kScaleGroup; ++i) {
    const auto magnitude = static_cast<std::uint16_t>(x[i] & 0x7fffu);
    const auto less_one = static_cast<std::uint16_t>(magnitude - 1u);
    largest = magnitude > largest ? magnitude : largest;
    smallest = less_one < smallest ? less_one : smallest;
  }
  return {largest, static_cast<std::uint16_t>(smallest + 1u)};
}

inline std::uint16_t amax_of(const std::uint16_t* x) {
  std::uint16_t largest = 0;
  for (int i = 0; i < kScaleGroup; ++i) {
    const auto magnitude = static_cast<std::uint16_t>(x[i] & 0x7fffu);
    largest = magnitude > largest ? magnitude : largest;
  }
  return largest;
}

void encode_dispatch(DispatchFormat format, const std::uint16_t* x, int hidden, std::byte* data,
                     std::byte* scales) {
  if (format == DispatchFormat::kBf16) {
    __builtin_memcpy(data, x, static_cast<std::size_t>(2 * static_cast<std::int64_t>(hidden)));
    return;
  }
  const bool as_bytes = format == DispatchFormat::kFp8Ue8m0;
  const int num_groups = hidden / kScaleGroup;
  for (int g = 0; g < num_groups; ++g) {
    const std::uint16_t* group = x + g * kScaleGroup;
    const GroupScale scale = group_scale(format, amax_of(group));
    std::uint8_t codes[kScaleGroup];
    for (int i = 0; i < kScaleGroup; ++i) codes[i] = encode_channel(group[i], scale.inverse);
    __builtin_memcpy(data + g * kScaleGroup, codes, sizeof(codes));
    if (as_bytes) {
      scales[g] = static_cast<std::byte>(scale_to_ue8m0(scale.scale));
    } else {
      __builtin_memcpy(scales + 4 * g, &scale.scale, 4);
    }
  }
  for (int g = num_groups; as_bytes && g % 4 != 0; ++g) scales[g] = std::byte{0};
}

void decode_dispatch(DispatchFormat format, const std::byte* data, const std::byte* scales,
                     int hidden, float* out) {
  if (format == DispatchFormat::kBf16) {
    for (int i = 0; i < hidden; ++i) {
      std::uint16_t channel = 0;
      __builtin_memcpy(&channel, data + 2 * static_cast<std::int64_t>(i), 2);
      out[i] = bf16_to_float(channel);
    }
    return;
  }
  for (int g = 0; g < hidden / kScaleGroup; ++g) {
    float scale = 0.0f;
    if (format == DispatchFormat::kFp8Ue8m0) {
      scale = ue8m0_to_scale(static_cast<std::uint8_t>(scales[g]));
    } else {
      __builtin_memcpy(&scale, scales + 4 * g, 4);
    }
    std::uint8_t codes[kScaleGroup];
    __builtin_memcpy(codes, data + g * kScaleGroup, sizeof(codes));
    float* group = out + g * kScaleGroup;
    for (int i = 0; i < kScaleGroup; ++i) group[i] = decode_channel(codes[i], scale);
  }
}

inline void pack_group(const LogFmtGrid& grid, const std::uint16_t* x, std::byte* out) {
  std::uint8_t low[kScaleGroup];
  std::uint32_t pairs[kScaleGroup / 4];  // four channels' two-bit fields, a byte each
  std::uint8_t high[kScaleGroup];
  for (int i = 0; i < kScaleGroup; ++i) {
    const std::uint32_t ten_bits = grid.encode(x[i]);
    low[i] = static_cast<std::uint8_t>(ten_bits);
    high[i] = static_cast<std::uint8_t>(ten_bits >> 8);
  }
  __builtin_memcpy(pairs, high, sizeof(high));
  std::uint8_t packed[kScaleGroup / 4];
  for (int i = 0; i < kScaleGroup / 4; ++i) {
    const std::uint32_t four = pairs[i];
    packed[i] = static_cast<std::uint8_t>(four | four >> 6 | four >> 12 | four >> 18);
  }
  __builtin_memcpy(out, low, sizeof(low));
  __builtin_memcpy(out + kLogFmtLowBytes, packed, sizeof(packed));
}

inline void unpack_group(const LogFmtGrid& grid, const std::byte* in, float* values) {
  std::uint8_t low[kScaleGroup];
  std::uint8_t packed[kScaleGroup / 4];
  std::uint32_t pairs[kScaleGroup / 4];
  std::uint8_t high[kScaleGroup];
  __builtin_memcpy(low, in, sizeof(low));
  __builtin_memcpy(packed, in + kLogFmtLowBytes, sizeof(packed));
  for (int i = 0; i < kScaleGroup / 4; ++i) {
    const std::uint32_t byte = packed[i];
    pairs[i] = (byte | byte << 6 | byte << 12 | byte << 18) & 0x03030303u;
  }
  __builtin_memcpy(high, pairs, sizeof(high));
  for (int i = 0; i < kScaleGroup; ++i) {
    values[i] =
        grid.decode(static_cast<std::uint32_t>(low[i]) | static_cast<std::uint32_t>(high[i]) << 8);
  }
}

std::size_t encode_combine(CombineFormat format, const std::uint16_t* x, int hidden,
                           std::byte* row) {
  if (format == CombineFormat::kBf16) {
    const auto bytes = static_cast<std::size_t>(combine_row_max_bytes(format, hidden));
    __builtin_memcpy(row, x, bytes);
    return bytes;
  }
  const int num_groups = hidden / kScaleGroup;
  const std::int64_t meta_bytes = logfmt_meta_bytes(hidden);
  std::byte* out = row + meta_bytes;
  for (int g = 0; g < num_groups; ++g) {
    const std::uint16_t* group = x + g * kScaleGroup;
    const Magnitudes range = magnitudes_of(group);
    const LogFmtMeta meta{range.largest, range.smallest};
    __builtin_memcpy(row + 4 * g, &meta, 4);
    if (meta.is_cast()) {
      pack_group(LogFmtGrid(meta), group, out);
    } else {
      __builtin_memcpy(out, group, kLogFmtRawBytes);
    }
    out += meta.group_bytes();
  }
  for (std::int64_t i = 4 * num_groups; i < meta_bytes; ++i) row[i] = std::byte{0};
  return static_cast<std::size_t>(out - row);
}

void accumulate_bf16(const std::uint16_t* x, int hidden, float weight, float* acc) {
  for (int i = 0; i < hidden; ++i) acc[i] = accumulate(acc[i], weight, bf16_to_float(x[i]));
}

void accumulate_combine(CombineFormat format, const std::byte* row, int hidden, float weight,
                        float* acc) {
  std::uint16_t raw[kScaleGroup];
  if (format == CombineFormat::kBf16) {
    for (int begin = 0; begin < hidden; begin += kScaleGroup) {
      const int count = hidden - begin < kScaleGroup ? hidden - begin : kScaleGroup;
      __builtin_memcpy(raw, row + 2 * static_cast<std::int64_t>(begin),
                       static_cast<std::size_t>(2 * count));
      accumulate_bf16(raw, count, weight, acc + begin);
    }
    return;
  }
  const std::byte* in = row + logfmt_meta_bytes(hidden);
  for (int g = 0; g < hidden / kScaleGroup; ++g) {
    LogFmtMeta meta;
    __builtin_memcpy(&meta, row + 4 * g, 4);
    float* sums = acc + g * kScaleGroup;
    if (meta.is_cast()) {
      float values[kScaleGroup];
      unpack_group(LogFmtGrid(meta), in, values);
      for (int i = 0; i < kScaleGroup; ++i) sums[i] = accumulate(sums[i], weight, values[i]);
    } else {
      __builtin_memcpy(raw, in, sizeof(raw));
      accumulate_bf16(raw, kScaleGroup, weight, sums);
    }
    in += meta.group_bytes();
  }
}

void store_bf16(const float* acc, int hidden, std::uint16_t* out) {
  for (int i = 0; i < hidden; ++i) out[i] = sum_to_bf16(acc[i]);
}

constexpr int kRowsAtOnce = 8;

// A block of sums over kRows rows at once: sums stay in registers from row to row. The first rows
// start from zero and the last ones store the result, so that a sum of up to eight rows never
// passes through memory.
template <int kRows, bool kFirst, bool kLast>
void sum_block(const std::uint16_t* const* rows, const float* weights, int count,
               float* __restrict acc, std::uint16_t* __restrict out) {
  float weight[kRows];
  const std::uint16_t* row[kRows];
  for (int r = 0; r < kRows; ++r) weight[r] = weights[r];
  for (int r = 0; r < kRows; ++r) row[r] = rows[r];
  for (int i = 0; i < count; ++i) {
    float sum = kFirst ? 0.0f : acc[i];
    for (int r = 0; r < kRows; ++r) sum = accumulate(sum, weight[r], bf16_to_float(row[r][i]));
    if (kLast) {
      out[i] = sum_to_bf16(sum);
    } else {
      acc[i] = sum;
    }
  }
}

template <bool kFirst>
void sum_last_rows(const std::uint16_t* const* rows, const float* weights, int num_rows, int count,
                   float* acc, std::uint16_t* out) {
  switch (num_rows) {
    case 1: return sum_block<1, kFirst, true>(rows, weights, count, acc, out);
    case 2: return sum_block<2, kFirst, true>(rows, weights, count, acc, out);
    case 3: return sum_block<3, kFirst, true>(rows, weights, count, acc, out);
    case 4: return sum_block<4, kFirst, true>(rows, weights, count, acc, out);
    case 5: return sum_block<5, kFirst, true>(rows, weights, count, acc, out);
    case 6: return sum_block<6, kFirst, true>(rows, weights, count, acc, out);
    case 7: return sum_block<7, kFirst, true>(rows, weights, count, acc, out);
    default: return sum_block<8, kFirst, true>(rows, weights, count, acc, out);
  }
}

void weighted_sum_bf16(const std::uint16_t* const* rows, const float* weights, int num_rows,
                       int hidden, std::uint16_t* out) {
  if (num_rows == 0) {
    for (int i = 0; i < hidden; ++i) out[i] = 0;
    return;
  }
  if (num_rows <= kRowsAtOnce) {
    sum_last_rows<true>(rows, weights, num_rows, hidden, nullptr, out);
    return;
  }
  for (int begin = 0; begin < hidden; begin += kBlock) {
    const int count = hidden - begin < kBlock ? hidden - begin : kBlock;
    float sums[kBlock];
    const std::uint16_t* at[kRowsAtOnce];
    int r = 0;
    for (; r + kRowsAtOnce < num_rows; r += kRowsAtOnce) {
      for (int i = 0; i < kRowsAtOnce; ++i) at[i] = rows[r + i] + begin;
      if (r == 0) {
        sum_block<kRowsAtOnce, true, false>(at, weights, count, sums, nullptr);
      } else {
        sum_block<kRowsAtOnce, false, false>(at, weights + r, count, sums, nullptr);
      }
    }
    for (int i = 0; r + i < num_rows; ++i) at[i] = rows[r + i] + begin;
    sum_last_rows<false>(at, weights + r, num_rows - r, count, sums, out + begin);
  }
}

constexpr RowKernels make_row_kernels(const char* name) {
  return {name,           encode_dispatch,    decode_dispatch,
          encode_combine, accumulate_combine, accumulate_bf16,
          store_bf16,     weighted_sum_bf16};
}

}  // namespace
