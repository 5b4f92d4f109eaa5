#include <cstdlib>
#include <string>

#include "core/error.h"
#include "simd/isa.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace annlib::simd {
namespace {

#if defined(__x86_64__)

struct Cpuid {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  explicit Cpuid(unsigned leaf) { __get_cpuid_count(leaf, 0, &eax, &ebx, &ecx, &edx); }
};

constexpr bool all_set(unsigned word, unsigned bits) { return (word & bits) == bits; }

/// Which register sets the operating system saves (XCR0). To be asked only where CPUID says that it says.
unsigned saved_registers() {
  unsigned low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

/// Bits as in the Intel SDM, volume 2, CPUID.
bool machine_has(Isa isa) {
  const Cpuid one(1), seven(7);
  if (!all_set(one.ecx, bit_OSXSAVE)) return false;
  constexpr unsigned kYmm = 0x06, kZmm = 0xe6;  // zmm and mask registers besides
  const unsigned saved = saved_registers();
  const bool avx2 = all_set(saved, kYmm) && all_set(one.ecx, bit_AVX | bit_FMA | bit_F16C | bit_SSE4_2) &&
                    all_set(seven.ebx, bit_AVX2);
  const bool avx512 =
      avx2 && all_set(saved, kZmm) && all_set(seven.ebx, bit_AVX512F | bit_AVX512BW | bit_AVX512DQ | bit_AVX512VL);
  switch (isa) {
    case Isa::avx2:
      return avx2;
    case Isa::avx512:
      return avx512;
    case Isa::avx512vnni:
      return avx512 && all_set(seven.ecx, bit_AVX512VNNI);
    default:
      return false;
  }
}

#elif defined(__aarch64__)

bool machine_has_crc() {
#if defined(__linux__)
  return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0;
#else
  return true;  // Apple's: ARMv8.1 at least
#endif
}

#endif

std::string names_of(const std::vector<const Kernels*>& sets) {
  std::string names;
  for (const Kernels* set : sets) names += (names.empty() ? "" : ", ") + std::string(set->name);
  return names;
}

const Kernels& choose() {
  const std::vector<const Kernels*> available = available_kernels();
  const char* wanted = std::getenv("ANNLIB_SIMD");
  if (wanted == nullptr || *wanted == '\0') return *available.back();
  for (const Kernels* set : available) {
    if (std::string(set->name) == wanted) return *set;
  }
  throw ValueError("ANNLIB_SIMD is \"" + std::string(wanted) + "\"; this machine has: " + names_of(available));
}

}  // namespace

const Kernels* kernels_for(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return &kScalarKernels;
#if defined(__x86_64__)
    case Isa::avx2:
      return machine_has(isa) ? &kAvx2Kernels : nullptr;
    case Isa::avx512:
      return machine_has(isa) ? &kAvx512Kernels : nullptr;
    case Isa::avx512vnni:
      return machine_has(isa) ? &kAvx512VnniKernels : nullptr;
#elif defined(__aarch64__)
    case Isa::neon:
      return machine_has_crc() ? &kNeonCrcKernels : &kNeonKernels;
#endif
    default:
      return nullptr;
  }
}

std::vector<const Kernels*> available_kernels() {
  std::vector<const Kernels*> sets;
  for (Isa isa : {Isa::scalar, Isa::neon, Isa::avx2, Isa::avx512, Isa::avx512vnni}) {
    if (const Kernels* set = kernels_for(isa)) sets.push_back(set);
  }
  return sets;
}

const Kernels& kernels() {
  static const Kernels& chosen = choose();
  return chosen;
}

}  // namespace annlib::simd
