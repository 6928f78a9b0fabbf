#pragma once

#include <initializer_list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <utility>

/// Containers for values that are nearly always empty. An empty one takes the size of one pointer:
/// a broker keeps about fifty such members for each instance.
namespace matriarch::model {

/// A std::map or std::set that is nearly always empty (an empty std::map takes 48 bytes). Iterators
/// are invalid once the last entry is erased.
template <class Container>
class rare {
public:
  using key_type = typename Container::key_type;
  using value_type = typename Container::value_type;
  using iterator = typename Container::iterator;
  using const_iterator = typename Container::const_iterator;

  rare() = default;
  rare(std::initializer_list<value_type> entries) : rare(Container(entries)) {}
  rare(Container entries) // NOLINT(google-explicit-constructor): same type but for its size
      : entries_(entries.empty() ? nullptr : std::make_unique<Container>(std::move(entries))) {}
  template <class Iterator>
  rare(Iterator first, Iterator last) : rare(Container(first, last)) {}
  rare(const rare& other) : rare(other.entries()) {}
  rare(rare&& other) noexcept = default;
  rare& operator=(rare other) noexcept {
    entries_ = std::move(other.entries_);
    return *this;
  }
  ~rare() = default;

  operator const Container&() const { return entries(); } // NOLINT(google-explicit-constructor)
  [[nodiscard]] const Container& entries() const { return entries_ ? *entries_ : nothing(); }
  [[nodiscard]] const_iterator begin() const { return entries().begin(); }
  [[nodiscard]] const_iterator end() const { return entries().end(); }
  [[nodiscard]] const_iterator find(const key_type& key) const { return entries().find(key); }
  [[nodiscard]] bool contains(const key_type& key) const { return entries().contains(key); }
  [[nodiscard]] const auto& at(const key_type& key) const { return entries().at(key); }
  [[nodiscard]] std::size_t size() const { return entries().size(); }
  [[nodiscard]] bool empty() const { return !entries_; }

  [[nodiscard]] iterator begin() { return there().begin(); }
  [[nodiscard]] iterator end() { return there().end(); }
  [[nodiscard]] iterator find(const key_type& key) { return there().find(key); }
  auto& operator[](const key_type& key) { return made()[key]; }
  auto insert(value_type entry) { return made().insert(std::move(entry)); }
  template <class Iterator>
  void insert(Iterator first, Iterator last) {
    if (first != last)
      made().insert(first, last);
  }
  template <class... Arguments>
  auto try_emplace(const key_type& key, Arguments&&... arguments) {
    return made().try_emplace(key, std::forward<Arguments>(arguments)...);
  }
  std::size_t erase(const key_type& key) {
    if (!entries_)
      return 0; // std::map writes to itself even where it has nothing to erase
    auto erased = entries_->erase(key);
    let_go();
    return erased;
  }
  void clear() { entries_.reset(); }

  template <class Predicate>
  friend void erase_if(rare& from, Predicate which) {
    std::erase_if(from.there(), which);
    from.let_go();
  }
  friend bool operator==(const rare& one, const rare& other) {
    return one.entries() == other.entries();
  }

private:
  /// Stays empty.
  static Container& nothing() {
    static Container none;
    return none;
  }
  Container& there() { return entries_ ? *entries_ : nothing(); }
  Container& made() {
    if (!entries_)
      entries_ = std::make_unique<Container>();
    return *entries_;
  }
  void let_go() {
    if (entries_ && entries_->empty())
      entries_.reset();
  }

  std::unique_ptr<Container> entries_; ///< nullptr while empty
};

template <class Key, class Value>
using rare_map = rare<std::map<Key, Value>>;
template <class Key>
using rare_set = rare<std::set<Key>>;

/// A std::optional that nearly always has no value.
template <class Value>
class rare_value {
public:
  rare_value() = default;
  rare_value(std::nullopt_t) {}                                              // NOLINT
  rare_value(Value one) : value_(std::make_unique<Value>(std::move(one))) {} // NOLINT
  rare_value(std::optional<Value> one) {                                     // NOLINT
    if (one)
      value_ = std::make_unique<Value>(std::move(*one));
  }
  rare_value(const rare_value& other) : value_(other ? std::make_unique<Value>(*other) : nullptr) {}
  rare_value(rare_value&& other) noexcept = default;
  rare_value& operator=(rare_value other) noexcept {
    value_ = std::move(other.value_);
    return *this;
  }
  ~rare_value() = default;

  explicit operator bool() const { return value_ != nullptr; }
  [[nodiscard]] bool has_value() const { return value_ != nullptr; }
  const Value& operator*() const { return *value_; }
  Value& operator*() { return *value_; }
  const Value* operator->() const { return value_.get(); }
  Value* operator->() { return value_.get(); }
  void reset() { value_.reset(); }

  friend bool operator==(const rare_value& one, const rare_value& other) {
    return one && other ? *one == *other : one.has_value() == other.has_value();
  }

private:
  std::unique_ptr<Value> value_;
};

} // namespace matriarch::model
