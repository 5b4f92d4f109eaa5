/// Tails for sets without masked loads: the last `lanes` elements of a row are loaded again, and those that were
/// counted before are zeroed. Included like kernels.inl.h; Vector::keep_last(v, k) zeroes all but the last k lanes.

template <class Vector, class T>
inline auto load_copied(const T* p, std::size_t count) {
  T copy[Vector::lanes] = {};
  __builtin_memcpy(copy, p, count * sizeof(T));
  return Vector::load(copy);
}

template <class Vector, class T>
inline auto load_overlapping(const T* p, std::size_t i, std::size_t n) {
  if (n < Vector::lanes) return load_copied<Vector>(p + i, n - i);
  return Vector::keep_last(Vector::load(p + n - Vector::lanes), n - i);
}
