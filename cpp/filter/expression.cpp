#include "filter/expression.h"

#include <algorithm>
#include <map>
#include <utility>

namespace annlib {
namespace {

using Kind = Expression::Kind;

void append_text(std::string& key, std::string_view text) {
  key += bytes_of_key(text.size());
  key += text;
}

// Joins the conditions on one column that hold together if and only if one condition does: of a column without lists
// all of them, of lists those that forbid elements.
void merge_leaves(std::vector<Expression>& parts) {
  std::map<std::pair<Kind, std::string>, Expression> merged;
  std::vector<Expression> rest;
  for (Expression& part : parts) {
    if (part.kind != Kind::value && !(part.kind == Kind::element && part.negated)) {
      rest.push_back(std::move(part));
      continue;
    }
    std::pair<Kind, std::string> of{part.kind, part.column};
    const auto at = merged.find(of);
    if (at == merged.end()) {
      merged.emplace(std::move(of), std::move(part));
      continue;
    }
    Expression& first = at->second;
    first.values = part.kind == Kind::value ? first.values.intersect(part.values) : first.values.unite(part.values);
    first.null &= part.null;
  }
  for (auto& [of, part] : merged) rest.push_back(std::move(part));
  parts = std::move(rest);
}

Expression folded(Expression leaf) {
  const bool nothing = leaf.values.empty() && !leaf.null;
  if (leaf.kind == Kind::value && (nothing || (leaf.values.everything() && leaf.null))) {
    return {nothing ? Kind::nothing : Kind::everything};
  }
  if (leaf.kind == Kind::element && nothing) return {leaf.negated ? Kind::everything : Kind::nothing};
  return leaf;
}

// Sorted, and each of them once.
void sort_parts(std::vector<Expression>& parts) {
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

Expression all_of(std::vector<Expression> parts) {
  std::vector<Expression> flat;
  for (Expression& part : parts) {
    if (part.kind == Kind::all_of) {
      std::move(part.parts.begin(), part.parts.end(), std::back_inserter(flat));
    } else {
      flat.push_back(std::move(part));
    }
  }
  merge_leaves(flat);
  for (Expression& part : flat) {
    part = folded(std::move(part));
    if (part.kind == Kind::nothing) return {Kind::nothing};
  }
  std::erase_if(flat, [](const Expression& part) { return part.kind == Kind::everything; });
  if (flat.empty()) return {Kind::everything};
  sort_parts(flat);
  if (flat.size() == 1) return std::move(flat.front());
  Expression made{Kind::all_of};
  made.parts = std::move(flat);
  return made;
}

Expression any_of(std::vector<Expression> parts) {
  for (Expression& part : parts) part = complement(part);
  return complement(all_of(std::move(parts)));
}

Expression complement(const Expression& expression) {
  Expression made = expression;
  switch (expression.kind) {
    case Kind::nothing:
      made.kind = Kind::everything;
      break;
    case Kind::everything:
      made.kind = Kind::nothing;
      break;
    case Kind::value:
      made.values = expression.values.complement();
      made.null = !expression.null;
      break;
    case Kind::element:
    case Kind::null_list:
    case Kind::items:
      made.negated = !expression.negated;
      break;
    case Kind::all_of:
    case Kind::any_of:
      made.kind = expression.kind == Kind::all_of ? Kind::any_of : Kind::all_of;
      for (Expression& part : made.parts) part = complement(part);
      sort_parts(made.parts);
      break;
  }
  return made;
}

}  // namespace annlib
