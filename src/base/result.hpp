#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace matriarch {

/// Why something could not be done, in words that a person can act on.
struct failure {
  std::string message;
};

/// Either a value or a failure. Errors are values in this project: exceptions stay at the edges of
/// libraries that throw.
template <class T>
class [[nodiscard]] result {
public:
  result(T value) : content_(std::move(value)) {}
  result(failure why) : content_(std::move(why)) {}

  [[nodiscard]] bool ok() const { return std::holds_alternative<T>(content_); }
  explicit operator bool() const { return ok(); }

  [[nodiscard]] const T& value() const& { return std::get<T>(content_); }
  [[nodiscard]] T& value() & { return std::get<T>(content_); }
  [[nodiscard]] T&& value() && { return std::get<T>(std::move(content_)); }
  const T& operator*() const& { return value(); }
  T& operator*() & { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  const T* operator->() const { return &value(); }
  T* operator->() { return &value(); }

  /// The failure's message; only of a result that is not ok.
  [[nodiscard]] const std::string& error() const { return std::get<failure>(content_).message; }

private:
  std::variant<T, failure> content_;
};

} // namespace matriarch
