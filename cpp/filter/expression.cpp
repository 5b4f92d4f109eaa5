#include "filter/expression.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace annlib {
namespace {

using Kind = Expression::Kind;

void append_text(std::string& key, std::string_view text) {
  key += bytes_of_key(text.size());
  key += text;
}

// Joins the conditions on one column of which all, or any, hold if and only if one condition does: of a column without
// lists all conditions, of lists those that forbid elements, or those that ask for one of several.
void merge_leaves(std::vector<Expression>& parts, bool all) {
  std::vector<Expression> merged, rest;
  for (Expression& part : parts) {
    if (part.kind != Kind::value && !(part.kind == Kind::element && part.negated == all)) {
      rest.push_back(std::move(part));
      continue;
    }
    const auto at = std::find_if(merged.begin(), merged.end(), [&](const Expression& first) {
      return first.kind == part.kind && first.column == part.column;
    });
    if (at == merged.end()) {
      merged.push_back(std::move(part));
    } else if (part.kind == Kind::value && all) {
      at->values = at->values.intersect(part.values);
      at->null &= part.null;
    } else {
      at->values = at->values.unite(part.values);
      at->null |= part.null;
    }
  }
  std::move(rest.begin(), rest.end(), std::back_inserter(merged));
  parts = std::move(merged);
}

// Sorted, and each of them once.
void sort_parts(std::vector<Expression>& parts) {
  if (parts.size() < 2) return;
  std::vector<std::pair<std::string, Expression>> keyed;
  for (Expression& part : parts) {
    std::string key = part.key();
    keyed.emplace_back(std::move(key), std::move(part));
  }
  std::sort(keyed.begin(), keyed.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  const auto same = [](const auto& a, const auto& b) { return a.first == b.first; };
  keyed.erase(std::unique(keyed.begin(), keyed.end(), same), keyed.end());
  parts.clear();
  for (auto& [key, part] : keyed) parts.push_back(std::move(part));
}

Expression joined(Kind kind, std::vector<Expression> parts) {
  const bool all = kind == Kind::all_of;
  const Kind decisive = all ? Kind::nothing : Kind::everything, neutral = all ? Kind::everything : Kind::nothing;
  std::vector<Expression> flat;
  for (Expression& part : parts) {
    if (part.kind == kind) {
      std::move(part.parts.begin(), part.parts.end(), std::back_inserter(flat));
    } else {
      flat.push_back(std::move(part));
    }
  }
  merge_leaves(flat, all);
  for (Expression& part : flat) {
    part = folded(std::move(part));
    if (part.kind == decisive) return {decisive};
  }
  std::erase_if(flat, [&](const Expression& part) { return part.kind == neutral; });
  if (flat.empty()) return {neutral};
  sort_parts(flat);
  if (flat.size() == 1) return std::move(flat.front());
  Expression made{kind};
  made.parts = std::move(flat);
  return made;
}

}  // namespace

std::string Expression::key() const {
  std::string key{static_cast<char>(kind), static_cast<char>(negated), static_cast<char>(null)};
  append_text(key, column);
  key += bytes_of_key(values.intervals().size());
  for (const auto& [begin, end] : values.intervals()) {
    append_text(key, begin);
    key += end ? '\1' : '\0';
    if (end) append_text(key, *end);
  }
  append_text(key, hash);
  for (const Expression& part : parts) append_text(key, part.key());
  return key;
}

Expression folded(Expression leaf) {
  const bool nothing = leaf.values.empty() && !leaf.null;
  if (leaf.kind == Kind::value && (nothing || (leaf.values.everything() && leaf.null))) {
    return {nothing ? Kind::nothing : Kind::everything};
  }
  if (leaf.kind == Kind::element && nothing) return {leaf.negated ? Kind::everything : Kind::nothing};
  return leaf;
}

Expression all_of(std::vector<Expression> parts) { return joined(Kind::all_of, std::move(parts)); }
Expression any_of(std::vector<Expression> parts) { return joined(Kind::any_of, std::move(parts)); }

Expression complement(Expression expression) {
  switch (expression.kind) {
    case Kind::nothing:
      expression.kind = Kind::everything;
      break;
    case Kind::everything:
      expression.kind = Kind::nothing;
      break;
    case Kind::value:
      expression.values = expression.values.complement();
      expression.null = !expression.null;
      break;
    case Kind::element:
    case Kind::null_list:
    case Kind::items:
      expression.negated = !expression.negated;
      break;
    case Kind::all_of:
    case Kind::any_of:
      expression.kind = expression.kind == Kind::all_of ? Kind::any_of : Kind::all_of;
      for (Expression& part : expression.parts) part = complement(std::move(part));
      sort_parts(expression.parts);
      break;
  }
  return expression;
}

}  // namespace annlib
