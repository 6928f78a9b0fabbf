#pragma once

#include <rapidjson/document.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

#include "base/result.hpp"

/// The project's additions to RapidJSON.
namespace matriarch::json {

using value = rapidjson::Value;
using document = rapidjson::Document;

/// Parses one JSON text without recursion, so that deep nesting cannot exhaust the stack. The
/// failure gives the byte offset and the error. A key that appears twice in one object is refused,
/// since parsers differ in which one they take. `deepest` limits the nesting.
[[nodiscard]] result<document> parse(std::string_view text, std::size_t deepest = 64);

/// The compact text of a value.
[[nodiscard]] std::string text_of(const value& what);

/// The text of a value with the keys of every object sorted: equal values give equal texts.
[[nodiscard]] std::string canonical_text_of(const value& what);

/// The text of an object whose members are all strings.
[[nodiscard]] std::string
object_text(std::initializer_list<std::pair<std::string_view, std::string_view>> members);

/// The member of that name, or nullptr if `object` is no object or has none.
[[nodiscard]] const value* member(const value& object, std::string_view name);

/// The string member of that name, or `otherwise` if there is none or it is no string.
[[nodiscard]] std::string string_member(const value& object, std::string_view name,
                                        std::string_view otherwise = {});

/// The integer member of that name, or `otherwise`.
[[nodiscard]] std::int64_t integer_member(const value& object, std::string_view name,
                                          std::int64_t otherwise = 0);

/// A copy of `text` owned by `owner`.
[[nodiscard]] value string(std::string_view text, document& owner);

/// Adds a member to an object; copies the name and the text.
void add(value& object, std::string_view name, std::string_view text, document& owner);
void add(value& object, std::string_view name, const char* text, document& owner);
void add(value& object, std::string_view name, std::int64_t number, document& owner);
void add(value& object, std::string_view name, int number, document& owner);
void add(value& object, std::string_view name, bool flag, document& owner);
void add(value& object, std::string_view name, value inner, document& owner);

} // namespace matriarch::json
