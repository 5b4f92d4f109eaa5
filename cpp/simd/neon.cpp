#if defined(__aarch64__)

#include <arm_neon.h>

#include "simd/isa.h"

// NEON is in every aarch64 machine: no target region is needed.

namespace annlib::simd {
namespace {

#include "simd/overlap.inl.h"

/// Read from offset k, a vector of lanes of which the last k are ones.
constexpr std::uint32_t kOnes32[8] = {0, 0, 0, 0, ~0u, ~0u, ~0u, ~0u};
constexpr std::int16_t kOnes16[16] = {0, 0, 0, 0, 0, 0, 0, 0, -1, -1, -1, -1, -1, -1, -1, -1};

constexpr std::size_t kTile = 4;

struct Float {
  using Vec = float32x4_t;
  static constexpr std::size_t lanes = 4;

  static Vec zero() { return vdupq_n_f32(0.0f); }
  static Vec broadcast(float v) { return vdupq_n_f32(v); }
  static Vec load(const float* p) { return vld1q_f32(p); }
  static Vec load(const std::uint16_t* p) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p))); }
  static Vec load(const std::int8_t* p) {
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vreinterpret_s8_u32(load32(p))))));
  }
  static Vec load(const std::uint8_t* p) {
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(vreinterpret_u8_u32(load32(p))))));
  }
  static Vec keep_last(Vec v, std::size_t k) {
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(v), vld1q_u32(kOnes32 + k)));
  }
  template <class T>
  static Vec load_first(const T* p, std::size_t count) {
    return load_copied<Float>(p, count);
  }
  template <class T>
  static Vec load_tail(const T* p, std::size_t i, std::size_t n) {
    return load_overlapping<Float>(p, i, n);
  }

  static Vec add(Vec a, Vec b) { return vaddq_f32(a, b); }
  static Vec sub(Vec a, Vec b) { return vsubq_f32(a, b); }
  static Vec mul(Vec a, Vec b) { return vmulq_f32(a, b); }
  static Vec fma(Vec a, Vec b, Vec c) { return vfmaq_f32(c, a, b); }
  static Vec abs(Vec a) { return vabsq_f32(a); }
  static Vec max(Vec a, Vec b) { return vmaxnmq_f32(a, b); }
  static Vec min(Vec a, Vec b) { return vminnmq_f32(a, b); }
  static float sum(Vec v) { return vaddvq_f32(v); }
  template <std::size_t h>
  static Vec exchange(Vec v) {
    return h == 1 ? vrev64q_f32(v) : vextq_f32(v, v, 2);
  }

  static Vec load_whole(const std::uint16_t* p) { return vcvtq_f32_u32(vmovl_u16(vld1_u16(p))); }
  static std::uint32_t below(Vec a, Vec b) {
    constexpr std::uint32_t kBits[4] = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcltq_f32(a, b), vld1q_u32(kBits)));
  }
  static Vec with_sign_of(Vec a, Vec b) {
    const uint32x4_t sign = vandq_u32(vreinterpretq_u32_f32(b), vdupq_n_u32(0x80000000u));
    return vreinterpretq_f32_u32(veorq_u32(vreinterpretq_u32_f32(a), sign));
  }

  static void store(float* p, Vec v) { vst1q_f32(p, v); }
  static void store(std::uint16_t* p, Vec v) { vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(v))); }
  static void store(std::int8_t* p, Vec v) { store_low_bytes(p, v); }
  static void store(std::uint8_t* p, Vec v) { store_low_bytes(p, v); }

 private:
  static uint32x2_t load32(const void* p) {
    std::uint32_t four;
    __builtin_memcpy(&four, p, sizeof four);
    return vdup_n_u32(four);
  }
  static void store_low_bytes(void* p, Vec v) {
    const int16x4_t words = vmovn_s32(vcvtnq_s32_f32(v));
    const std::uint32_t four = vget_lane_u32(vreinterpret_u32_s8(vmovn_s16(vcombine_s16(words, words))), 0);
    __builtin_memcpy(p, &four, sizeof four);
  }
};

struct Int16 {
  using Vec = int16x8_t;
  using Acc = int32x4_t;
  static constexpr std::size_t lanes = 8;

  static Vec load(const std::int8_t* p) { return vmovl_s8(vld1_s8(p)); }
  static Vec load(const std::uint8_t* p) { return vreinterpretq_s16_u16(vmovl_u8(vld1_u8(p))); }
  static Vec keep_last(Vec v, std::size_t k) { return vandq_s16(v, vld1q_s16(kOnes16 + k)); }
  template <class T>
  static Vec load_tail(const T* p, std::size_t i, std::size_t n) {
    return load_overlapping<Int16>(p, i, n);
  }
  static Vec sub(Vec a, Vec b) { return vsubq_s16(a, b); }
  static Vec field(Vec v, unsigned shift, std::int16_t mask) {  // a shift by less than nothing is one to the right
    return vandq_s16(vshlq_s16(v, vdupq_n_s16(static_cast<std::int16_t>(-static_cast<int>(shift)))), vdupq_n_s16(mask));
  }

  static Acc zero() { return vdupq_n_s32(0); }
  static Acc add_products(Acc acc, Vec a, Vec b) {
    return vmlal_high_s16(vmlal_s16(acc, vget_low_s16(a), vget_low_s16(b)), a, b);
  }
  static Acc add(Acc a, Acc b) { return vaddq_s32(a, b); }
  static std::int32_t sum(Acc v) { return vaddvq_s32(v); }
};

struct Lookup {
  static void sums(const std::uint8_t* codes, const std::uint8_t* tables, std::size_t n, std::uint16_t* out) {
    uint16x8_t sum[4] = {vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0), vdupq_n_u16(0)};
    for (std::size_t i = 0; i < n * 16; i += 16) {
      const uint8x16_t table = vld1q_u8(tables + i), code = vld1q_u8(codes + i);
      const uint8x16_t a = vqtbl1q_u8(table, vandq_u8(code, vdupq_n_u8(15)));
      const uint8x16_t b = vqtbl1q_u8(table, vshrq_n_u8(code, 4));
      sum[0] = vaddw_u8(sum[0], vget_low_u8(a));
      sum[1] = vaddw_high_u8(sum[1], a);
      sum[2] = vaddw_u8(sum[2], vget_low_u8(b));
      sum[3] = vaddw_high_u8(sum[3], b);
    }
    for (std::size_t i = 0; i < 4; ++i) vst1q_u16(out + 8 * i, sum[i]);
  }

  // There is no gather.
  static constexpr std::size_t tested = kBlockRows;
  static std::uint32_t bits(const std::uint64_t* words, const std::uint32_t* numbers) {
    return kScalarKernels.test_bits(words, numbers);
  }
};

/// Spelled in assembly because the two compilers name the extension differently in target attributes.
inline std::uint32_t crc32c_byte(std::uint32_t crc, std::uint8_t byte) {
  __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"(byte));
  return crc;
}
inline std::uint32_t crc32c_word(std::uint32_t crc, std::uint64_t word) {
  __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %x1" : "+r"(crc) : "r"(word));
  return crc;
}

#include "simd/integer16.inl.h"
struct Words {
  using Vec = int32x4_t;
  static constexpr std::size_t rows = 4;
  static constexpr bool whole_bytes = false;

  static Vec zero() { return vdupq_n_s32(0); }
  static Vec add(Vec a, Vec b) { return vaddq_s32(a, b); }
  static Vec times16(Vec v) { return vshlq_n_s32(v, 4); }
  static Float::Vec floats(Vec v) { return vcvtq_f32_s32(v); }
  static Vec every_fourth(const std::uint8_t* const* row, std::size_t at) {
    return vreinterpretq_s32_u8(vld1q_u8(row[0] + at));
  }
  static Vec low32(Vec a, Vec b) { return vzip1q_s32(a, b); }
  static Vec high32(Vec a, Vec b) { return vzip2q_s32(a, b); }
  static Vec low64(Vec a, Vec b) { return vcombine_s32(vget_low_s32(a), vget_low_s32(b)); }
  static Vec high64(Vec a, Vec b) { return vcombine_s32(vget_high_s32(a), vget_high_s32(b)); }
  template <unsigned bits>
  static Vec field(Vec bytes, unsigned shift) {
    const uint8x16_t shifted = vshlq_u8(vreinterpretq_u8_s32(bytes), vdupq_n_s8(-static_cast<std::int8_t>(shift)));
    return vreinterpretq_s32_u8(vandq_u8(shifted, vdupq_n_u8((1 << bits) - 1)));
  }
  /// A pair's sum of 15 * 127 each fits an int16.
  static Vec add_products(Vec acc, Vec fields, std::int32_t query) {
    const int8x16_t x = vreinterpretq_s8_s32(fields), q = vreinterpretq_s8_s32(vdupq_n_s32(query));
    return vpadalq_s16(acc, vpaddq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(q)), vmull_high_s8(x, q)));
  }
};

#include "simd/columns.inl.h"
#include "simd/kernels.inl.h"

std::uint32_t crc32c_of_tables(std::uint32_t crc, const void* data, std::size_t n) {
  return kScalarKernels.crc32c(crc, data, n);
}

constexpr Kernels without_crc_instructions(Kernels kernels) {
  kernels.crc32c = crc32c_of_tables;
  return kernels;
}

}  // namespace

constinit const Kernels kNeonCrcKernels = make_kernels(Isa::neon, "neon");
constinit const Kernels kNeonKernels = without_crc_instructions(make_kernels(Isa::neon, "neon"));

}  // namespace annlib::simd

#endif
