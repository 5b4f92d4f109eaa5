#pragma once

#include "simd/simd.h"

/// Private to this room: the table of each instruction set, and the pragmas that switch one on.
///
/// A set is switched on for a region of a file and not by a compiler flag, because a flag would also reach the inline
/// functions of the standard headers: the linker keeps one copy of those for the whole library, perhaps the one that
/// an older machine cannot run. So every header is included before ANNLIB_TARGET_BEGIN, and everything inside the
/// region is in an anonymous namespace.

#define ANNLIB_PRAGMA(text) _Pragma(#text)
#if defined(__clang__)
#define ANNLIB_TARGET_BEGIN(features) \
  ANNLIB_PRAGMA(clang attribute push(__attribute__((target(features))), apply_to = function))
#define ANNLIB_TARGET_END ANNLIB_PRAGMA(clang attribute pop)
#else
#define ANNLIB_TARGET_BEGIN(features) ANNLIB_PRAGMA(GCC push_options) ANNLIB_PRAGMA(GCC target(features))
#define ANNLIB_TARGET_END ANNLIB_PRAGMA(GCC pop_options)
#endif

namespace annlib::simd {

extern const Kernels kScalarKernels;
#if defined(__x86_64__)
extern const Kernels kAvx2Kernels;
extern const Kernels kAvx512Kernels;
extern const Kernels kAvx512VnniKernels;
#elif defined(__aarch64__)
extern const Kernels kNeonKernels;
/// The same with the CRC instructions, which the first ARMv8 machines may lack.
extern const Kernels kNeonCrcKernels;
#endif

}  // namespace annlib::simd
