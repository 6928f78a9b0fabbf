#pragma once

#include <cstddef>
#include <optional>
#include <string>

#include "base/json.hpp"
#include "http/server.hpp"

namespace matriarch::http::osb {

// The record stores the request's texts and is written at each change, and etcd takes 1.5 MB at
// once. GUIDs have 36 bytes, a platform's context some 500.
inline constexpr std::size_t longest_text = 4 * 1024;
inline constexpr std::size_t longest_object = 64 * 1024;

/// Reads a request's body field by field and keeps the first error.
class body_reader {
public:
  /// Where the broker is strict, a Content-Type has to be JSON's.
  body_reader(const request& got, bool strict);

  /// True also for null.
  [[nodiscard]] bool has(const char* name) const;
  /// A string; empty if it is missing and not required.
  std::string text(const char* name, bool required);
  /// An object, or nullptr if it is missing.
  const json::value* object(const char* name);
  /// An object's canonical text, if it is there.
  std::optional<std::string> object_text(const char* name);
  /// False unless it is `true`.
  [[nodiscard]] bool flag(const char* name) const;

  /// Records an error, unless there already is one.
  void refuse(const std::string& why);
  /// The 400 for the first error, if there is any.
  [[nodiscard]] const std::optional<response>& wrong() const { return wrong_; }

private:
  [[nodiscard]] const json::value* member(const char* name) const;

  json::document body_;
  std::optional<response> wrong_;
};

} // namespace matriarch::http::osb
