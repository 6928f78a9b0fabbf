#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <utility>

namespace matriarch::model {

/// The members of a stored value that a later release wrote and this one does not know, as JSON.
/// They are kept and written back. There are as many of these objects as stored values and nearly
/// all are empty: an empty one costs one pointer.
class unknown_members {
public:
  unknown_members() = default;
  explicit unknown_members(std::string text)
      : text_(text.empty() ? nullptr : std::make_unique<const std::string>(std::move(text))) {}
  unknown_members(const unknown_members& other) : unknown_members(std::string{other.text()}) {}
  unknown_members(unknown_members&&) noexcept = default;
  unknown_members& operator=(unknown_members other) noexcept {
    text_ = std::move(other.text_);
    return *this;
  }
  ~unknown_members() = default;

  [[nodiscard]] bool empty() const { return text_ == nullptr; }
  /// Empty if there are none.
  [[nodiscard]] std::string_view text() const {
    return text_ == nullptr ? std::string_view{} : std::string_view{*text_};
  }

  friend bool operator==(const unknown_members& one, const unknown_members& other) {
    return one.text() == other.text();
  }

private:
  std::unique_ptr<const std::string> text_;
};

static_assert(sizeof(unknown_members) == sizeof(void*));

} // namespace matriarch::model
