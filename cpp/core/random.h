#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace annlib {

/// A bijection of 64 bits whose output looks random (the finaliser of SplitMix64: Steele, Lea & Flood, OOPSLA 2014).
constexpr std::uint64_t mix64(std::uint64_t x) {
  x ^= x >> 30;
  x *= 0xBF58476D1CE4E5B9ull;
  x ^= x >> 27;
  x *= 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

/// A hash of bytes: the same on every machine of one byte order.
inline std::uint64_t hash_bytes(const std::byte* bytes, std::size_t n) {
  std::uint64_t hash = n;
  for (std::size_t i = 0; i < n; i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, bytes + i, n - i < 8 ? n - i : 8);
    hash = mix64(hash ^ word) + 0x9E3779B97F4A7C15ull;
  }
  return hash;
}

/// Counter-based random numbers: a pure function of (seed, stream, counter), the same on every machine. What depends
/// on an item draws from its id, never from the moment of its arrival, so that builds do not depend on the order.
constexpr std::uint64_t random64(std::uint64_t seed, std::uint64_t stream, std::uint64_t counter) {
  return mix64(mix64(mix64(seed + 0x9E3779B97F4A7C15ull) ^ stream) + counter * 0x9E3779B97F4A7C15ull);
}

/// Uniform in (0, 1].
constexpr double to_unit(std::uint64_t bits) { return static_cast<double>((bits >> 11) + 1) * 0x1.0p-53; }

/// Uniform in [0, n), for n below 2^32.
constexpr std::uint32_t to_below(std::uint64_t bits, std::uint32_t n) {
  return static_cast<std::uint32_t>(((bits >> 32) * n) >> 32);
}

}  // namespace annlib
