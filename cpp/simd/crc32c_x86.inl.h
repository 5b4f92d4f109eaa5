/// SSE4.2, which every x86 set beside the scalar one includes.
inline std::uint32_t crc32c_byte(std::uint32_t crc, std::uint8_t byte) { return _mm_crc32_u8(crc, byte); }
inline std::uint32_t crc32c_word(std::uint32_t crc, std::uint64_t word) {
  return static_cast<std::uint32_t>(_mm_crc32_u64(crc, word));
}
