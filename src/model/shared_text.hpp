#pragma once

#include <concepts>
#include <memory>
#include <ostream>
#include <string>
#include <string_view>
#include <utility>

namespace matriarch::model {

/// A text that many objects have alike; copies share one string. For instance each node of a large
/// fleet has its plan's id.
class shared_text {
public:
  shared_text() = default;
  shared_text(
      std::string text) // NOLINT(google-explicit-constructor): the same type but for its copies
      : text_(text.empty() ? nullptr : std::make_shared<const std::string>(std::move(text))) {}
  shared_text(const char* text) // NOLINT(google-explicit-constructor)
      : shared_text(std::string{text}) {}

  operator const std::string&() const { return text(); } // NOLINT(google-explicit-constructor)
  [[nodiscard]] const std::string& text() const {
    static const std::string nothing;
    return text_ ? *text_ : nothing;
  }
  [[nodiscard]] bool empty() const { return !text_; }

  friend bool operator==(const shared_text& one, const shared_text& other) {
    return one.text_ == other.text_ || one.text() == other.text();
  }
  template <std::convertible_to<std::string_view> Text>
  friend bool operator==(const shared_text& one, const Text& other) {
    return one.text() == std::string_view{other};
  }
  friend std::ostream& operator<<(std::ostream& out, const shared_text& one) {
    return out << one.text();
  }

private:
  std::shared_ptr<const std::string> text_; ///< nullptr while empty
};

} // namespace matriarch::model
