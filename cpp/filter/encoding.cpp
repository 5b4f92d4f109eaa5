#include <cmath>
#include <cstring>
#include <utility>

#include "core/error.h"
#include "filter/expression.h"

namespace annlib {
namespace {

using Kind = Expression::Kind;

enum class Operator : std::uint8_t { less, at_most, greater, at_least, is_in, any, holds, is_null };
constexpr const char* kOperators[] = {"<", "<=", ">", ">=", "==", "any", "contains", "is null"};

enum class Literal : std::uint8_t { boolean, integer, real, text, instant, text_instant };
constexpr const char* kLiterals[] = {"a bool", "an int", "a float", "a string", "a date", "a string"};

constexpr int kDeepest = 500;
constexpr std::size_t kHashBytes = 16;
constexpr std::int64_t kDay = 86'400'000'000;

struct Value {
  Literal kind;
  std::int64_t integer = 0;  // of bool, int and instants
  double real = 0;
  std::string_view text = {};
};

/// Where a value divides those of a column: what comes before `begin` is less, what comes from `end` on is greater.
/// None: all values are less.
struct Cut {
  std::optional<std::string> begin, end;
};

std::optional<std::string> key_or_end(std::int64_t value, bool beyond) {
  if (beyond) return std::nullopt;
  return bytes_of_key(key_of(value));
}

Cut cut_at(std::int64_t value) {
  const bool last = value == INT64_MAX;
  return {bytes_of_key(key_of(value)), key_or_end(last ? value : value + 1, last)};
}

// Between integers.
Cut cut_at(double value) {
  const double low = std::ceil(value), high = std::floor(value) + 1;
  const auto bound = [](double x) {
    if (x >= 0x1p63) return key_or_end(0, true);
    return key_or_end(x < -0x1p63 ? INT64_MIN : static_cast<std::int64_t>(x), false);
  };
  return {bound(low), bound(high)};
}

Cut cut_reals_at(double value) { return {bytes_of_key(key_of(value)), bytes_of_key(key_of(value) + 1)}; }

Cut cut_days_at(std::int64_t instant) {
  std::int64_t day = instant / kDay;
  if (instant % kDay < 0) --day;
  return {bytes_of_key(key_of(instant % kDay == 0 ? day : day + 1)), bytes_of_key(key_of(day + 1))};
}

class Reader {
 public:
  Reader(std::string_view bytes, const Columns& columns, const SlotsOfItems& slots_of)
      : bytes_(bytes), columns_(columns), slots_of_(slots_of) {}

  Expression read() {
    Expression expression = node(0);
    if (!bytes_.empty()) fail();
    return expression;
  }

 private:
  [[noreturn]] static void fail() { throw ValueError("these bytes are no encoded filter"); }

  template <class T>
  T number() {
    T value;
    if (bytes_.size() < sizeof(T)) fail();
    std::memcpy(&value, bytes_.data(), sizeof(T));
    bytes_.remove_prefix(sizeof(T));
    return value;
  }
  std::string_view take(std::uint64_t length) {
    if (length > bytes_.size()) fail();
    const std::string_view taken = bytes_.substr(0, length);
    bytes_.remove_prefix(length);
    return taken;
  }
  std::string_view text() { return take(number<std::uint32_t>()); }

  Expression node(int depth) {
    if (depth > kDeepest) {
      throw ValueError("a filter may be nested " + std::to_string(kDeepest) + " deep, and this one is deeper");
    }
    const auto tag = number<std::uint8_t>();
    switch (tag) {
      case 0:
        return {Kind::nothing};
      case 1:
        return {Kind::everything};
      case 2:
        return complement(node(depth + 1));
      case 3:
        return all_of(nodes(depth));
      case 4:
        return any_of(nodes(depth));
      case 5:
        return leaf();
      case 6:
      case 7:
        return items(tag == 7);
      default:
        fail();
    }
  }
  std::vector<Expression> nodes(int depth) {
    std::vector<Expression> made;
    for (auto n = number<std::uint32_t>(); n > 0; --n) made.push_back(node(depth + 1));
    return made;
  }

  Expression items(bool mask) {
    const std::string_view hash = take(kHashBytes);
    const std::string_view bytes = take(number<std::uint64_t>());
    if (!mask && bytes.size() % sizeof(std::int64_t) != 0) fail();
    Expression made{Kind::items};
    made.hash = hash;
    made.slots = slots_of_({mask, bytes, hash});
    return made;
  }

  Value value() {
    Value value{static_cast<Literal>(number<std::uint8_t>())};
    switch (value.kind) {
      case Literal::boolean:
        value.integer = number<std::uint8_t>() != 0;
        break;
      case Literal::integer:
      case Literal::instant:
        value.integer = number<std::int64_t>();
        break;
      case Literal::real:
        value.real = number<double>();
        if (std::isnan(value.real)) throw ValueError("a filter cannot compare with NaN: use is_null" + where_);
        break;
      case Literal::text_instant:
        value.integer = number<std::int64_t>();
        [[fallthrough]];
      case Literal::text:
        value.text = text();
        break;
      default:
        fail();
    }
    return value;
  }

  Expression leaf() {
    const auto code = number<std::uint8_t>();
    if (code >= std::size(kOperators)) fail();
    const auto op = static_cast<Operator>(code);
    const auto position = number<std::int32_t>();
    where_ = position < 0 ? "" : " (at position " + std::to_string(position) + ")";
    name_ = text();
    const Column& column = columns_.require(name_, where_);
    type_ = column.type();
    std::vector<Value> values;
    for (auto n = number<std::uint32_t>(); n > 0; --n) values.push_back(value());
    return make_leaf(op, values);
  }

  Expression make_leaf(Operator op, const std::vector<Value>& values) {
    Expression made{is_list(type_) ? Kind::element : Kind::value};
    made.column = name_;
    if (op == Operator::is_null) {
      made.null = true;
      if (is_list(type_)) made = {Kind::null_list, false, false, made.column, {}, {}};
      return made;
    }
    const bool ordered = op <= Operator::at_least;
    if ((ordered && (is_list(type_) || type_ == AttributeType::boolean)) || (op == Operator::is_in && is_list(type_)) ||
        (op == Operator::any && !is_list(type_))) {
      throw ValueError(holds() + ", for which there is no '" + kOperators[static_cast<std::size_t>(op)] + "'" +
                       (is_list(type_) ? "; there are any, all, none and is_null" : "") + where_);
    }
    if (ordered && values.size() != 1) fail();
    std::vector<IntervalSet::Interval> intervals;
    for (const Value& one : values) {
      auto [begin, end] = cut(one);
      if (!begin && op != Operator::less && op != Operator::at_most) continue;  // no value is as large
      switch (op) {
        case Operator::less:
          intervals.push_back({"", begin});
          break;
        case Operator::at_most:
          intervals.push_back({"", end});
          break;
        case Operator::greater:
          if (end) intervals.push_back({*end, std::nullopt});
          break;
        case Operator::at_least:
          intervals.push_back({*begin, std::nullopt});
          break;
        default:
          intervals.push_back({*begin, end});
      }
    }
    made.values = IntervalSet(std::move(intervals));
    return folded(std::move(made));
  }

  Cut cut(const Value& value) const {
    const bool number = value.kind == Literal::integer || value.kind == Literal::real;
    const bool instant = value.kind == Literal::instant || value.kind == Literal::text_instant;
    const bool text = value.kind == Literal::text || value.kind == Literal::text_instant;
    switch (type_) {
      case AttributeType::boolean:
        if (value.kind == Literal::boolean) return cut_at(value.integer);
        break;
      case AttributeType::integer:
        if (number) return value.kind == Literal::real ? cut_at(value.real) : cut_at(value.integer);
        break;
      case AttributeType::integers:
        if (value.kind == Literal::integer) return cut_text(bytes_of(value.integer));
        break;
      case AttributeType::real:
        if (number) return cut_reals_at(value.kind == Literal::real ? value.real : static_cast<double>(value.integer));
        break;
      case AttributeType::date:
        if (instant) return cut_days_at(value.integer);
        break;
      case AttributeType::datetime:
        if (instant) return cut_at(value.integer);
        break;
      case AttributeType::string:
      case AttributeType::strings:
        if (text) return cut_text(value.text);
        break;
    }
    const bool dates = type_ == AttributeType::date || type_ == AttributeType::datetime;
    std::string message = holds() + ", and cannot be compared with " + kLiterals[static_cast<std::size_t>(value.kind)];
    if (dates && value.kind == Literal::text) message.append(" that is no ISO 8601 date");
    throw ValueError(message + where_);
  }
  std::string holds() const {
    return std::string("attribute '").append(name_).append("' holds ").append(name_of(type_));
  }
  static Cut cut_text(std::string_view text) { return {std::string(text), successor(text)}; }
  static std::string_view bytes_of(const std::int64_t& value) {
    return {reinterpret_cast<const char*>(&value), sizeof(value)};
  }

  std::string_view bytes_;
  const Columns& columns_;
  const SlotsOfItems& slots_of_;
  // Of the leaf at hand.
  std::string_view name_;
  AttributeType type_ = AttributeType::boolean;
  std::string where_;
};

}  // namespace

Expression read_expression(std::string_view encoded, const Columns& columns, const SlotsOfItems& slots_of) {
  return Reader(encoded, columns, slots_of).read();
}

}  // namespace annlib
