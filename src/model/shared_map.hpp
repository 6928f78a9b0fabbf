#pragma once

#include <atomic>
#include <initializer_list>
#include <map>
#include <memory>
#include <utility>

namespace matriarch::model {

/// A std::map whose copies share their entries until one of them changes: an instance's actor and
/// its published snapshot hold the entries once. Other threads may read a copy while the original
/// changes. As with std::map, one object must not be used by two threads while one of them changes
/// it.
template <class Key, class Value>
class shared_map {
public:
  using map = std::map<Key, Value>;
  using value_type = typename map::value_type;
  using const_iterator = typename map::const_iterator;
  using iterator = const_iterator;

  shared_map() = default;
  shared_map(std::initializer_list<value_type> entries) : shared_map(map(entries)) {}
  shared_map(map entries) // NOLINT(google-explicit-constructor): same type but for its copies
      : entries_(entries.empty() ? nullptr : std::make_shared<map>(std::move(entries))) {}
  shared_map(const shared_map& other) : entries_(other.entries_), is_shared_(true) {
    other.is_shared_ = true;
  }
  shared_map(shared_map&& other) noexcept
      : entries_(std::move(other.entries_)), is_shared_(other.is_shared_.load()) {}
  shared_map& operator=(shared_map other) noexcept {
    entries_ = std::move(other.entries_);
    is_shared_ = other.is_shared_.load();
    return *this;
  }
  ~shared_map() = default;

  operator const map&() const { // NOLINT(google-explicit-constructor)
    static const map nothing;
    return entries_ ? *entries_ : nothing;
  }
  [[nodiscard]] const map& entries() const { return *this; }
  [[nodiscard]] const_iterator begin() const { return entries().begin(); }
  [[nodiscard]] const_iterator end() const { return entries().end(); }
  [[nodiscard]] const_iterator find(const Key& key) const { return entries().find(key); }
  [[nodiscard]] bool contains(const Key& key) const { return entries().contains(key); }
  [[nodiscard]] const Value& at(const Key& key) const { return entries().at(key); }
  [[nodiscard]] std::size_t size() const { return entries().size(); }
  [[nodiscard]] bool empty() const { return entries().empty(); }

  Value& at(const Key& key) { return own().at(key); }
  Value& operator[](const Key& key) { return own()[key]; }
  /// Adds the entries whose keys are missing.
  void insert(const map& more) {
    if (!more.empty())
      own().insert(more.begin(), more.end());
  }
  void erase(const Key& key) {
    if (contains(key))
      own().erase(key);
  }
  void clear() { entries_.reset(); }

  friend bool operator==(const shared_map& one, const shared_map& other) {
    return one.entries_ == other.entries_ || one.entries() == other.entries();
  }

private:
  map& own() {
    if (!entries_ || is_shared_)
      entries_ = std::make_shared<map>(entries());
    is_shared_ = false;
    return *entries_;
  }

  std::shared_ptr<map> entries_; ///< nullptr while empty
  /// Whether a copy may share the entries. Mutable, because copying sets it in the const original.
  mutable std::atomic<bool> is_shared_ = false;
};

} // namespace matriarch::model
