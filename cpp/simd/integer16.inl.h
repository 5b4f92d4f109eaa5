/// Integer pairs by way of 16-bit lanes, for sets without a dot product of bytes. Included like kernels.inl.h, after
/// `struct Int16`: a vector of int16 with Vec, Acc, lanes, load and load_tail (const int8_t* or const uint8_t*), sub,
/// field(v, shift, mask) (v >> shift & mask in each lane), zero (of Acc), add_products(acc, a, b), which adds products
/// to int32 lanes, add (of two Accs), and sum.

struct Int16Sums {
  using Vec = Int16::Acc;
  static std::int32_t sum(Vec v) { return Int16::sum(v); }
};

template <Op op, class QueryElement, class RowElement>
struct IntegerTerm {
  using Q = QueryElement;
  using X = RowElement;
  using Acc = Int16::Acc;
  using Lanes = Int16Sums;
  static constexpr std::size_t lanes = Int16::lanes;
  static constexpr bool exact = true, in_blocks = true;

  static Acc zero() { return Int16::zero(); }
  static void add(Acc& acc, Int16::Vec q, Int16::Vec x) {
    if constexpr (op == Op::l2) {
      const Int16::Vec d = Int16::sub(q, x);
      acc = Int16::add_products(acc, d, d);
    } else {
      acc = Int16::add_products(acc, q, x);
    }
  }
  static void step(Acc& acc, const Q* q, const X* x, std::size_t) { add(acc, Int16::load(q), Int16::load(x)); }
  static void tail(Acc& acc, const Q* q, const X* x, std::size_t i, std::size_t n) {
    add(acc, Int16::load_tail(q, i, n), Int16::load_tail(x, i, n));
  }
  static Acc merge(const Acc& a, const Acc& b, const Acc& c, const Acc& d) {
    return Int16::add(Int16::add(a, b), Int16::add(c, d));
  }
};

template <unsigned bits>
struct PackedTerm {
  using Q = std::int8_t;
  using X = std::uint8_t;
  using Acc = Int16::Acc;
  using Lanes = Int16Sums;
  static constexpr std::size_t lanes = Int16::lanes;
  static constexpr bool exact = true, in_blocks = false;

  static Acc zero() { return Int16::zero(); }
  static void step(Acc& acc, const Q* q, const X* x, std::size_t n) {
    const Int16::Vec bytes = Int16::load(x);
    for (unsigned shift = 0; shift < 8; shift += bits, q += n) {
      acc = Int16::add_products(acc, Int16::load(q), Int16::field(bytes, shift, (1 << bits) - 1));
    }
  }
  static void tail(Acc& acc, const Q* q, const X* x, std::size_t i, std::size_t n) {
    const Int16::Vec bytes = Int16::load_tail(x, i, n);
    for (unsigned shift = 0; shift < 8; shift += bits, q += n) {
      acc = Int16::add_products(acc, Int16::load_tail(q, i, n), Int16::field(bytes, shift, (1 << bits) - 1));
    }
  }
  static Acc merge(const Acc& a, const Acc& b, const Acc& c, const Acc& d) {
    return Int16::add(Int16::add(a, b), Int16::add(c, d));
  }
};
