#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/enum_words.hpp"
#include "base/json.hpp"
#include "base/result.hpp"
#include "base/utf8.hpp"
#include "model/record.hpp"
#include "store/formats.hpp"
#include "store/keyring.hpp"
#include "store/unknown_members.hpp"

/// Reads and writes the JSON objects that are the values of keys: what the files for each kind of
/// value share.
namespace matriarch::store {

extern const known_members credentials_members;

/// The place that a password is sealed for.
[[nodiscard]] std::string place_of(const std::string& owner, const char* field);

/// In milliseconds since 1970. Platforms get times in ISO 8601, which has four digits for the year;
/// much later times would overflow the calendar's numbers.
inline constexpr std::int64_t year_10000 = 253'402'300'800'000;

/// Reads a JSON object and keeps the first error.
class reader {
public:
  explicit reader(const json::value& object) : object_(object) {
    if (!object.IsObject())
      refuse("not an object");
  }

  std::string text(const char* name) {
    const auto* found = json::member(object_, name);
    if (found == nullptr || !found->IsString())
      refuse(std::string{name} + " is missing or no string");
    return json::string_member(object_, name);
  }
  std::int64_t integer(const char* name) {
    const auto* found = json::member(object_, name);
    if (found == nullptr || !found->IsInt64())
      refuse(std::string{name} + " is missing or no whole number");
    return json::integer_member(object_, name);
  }
  /// Refuses a number that does not fit: cut off, 4,294,967,296 nodes would become 0.
  int number(const char* name) {
    auto whole = integer(name);
    if (std::in_range<int>(whole))
      return static_cast<int>(whole);
    refuse(std::string{name} + " is too large or too small");
    return 0;
  }
  model::wall_time time(const char* name) {
    auto since_1970 = integer(name);
    if (since_1970 >= 0 && since_1970 < year_10000)
      return model::wall_time{model::duration{since_1970}};
    refuse(std::string{name} + " is no time, milliseconds since 1970");
    return {};
  }
  std::optional<model::wall_time> time_if_any(const char* name) {
    if (json::member(object_, name) == nullptr)
      return std::nullopt;
    return time(name);
  }
  bool flag(const char* name, bool otherwise) {
    const auto* found = json::member(object_, name);
    if (found == nullptr)
      return otherwise;
    if (!found->IsBool())
      refuse(std::string{name} + " is neither true nor false");
    return found->IsTrue();
  }
  /// `owner`: the owner of the credentials, the first part of their place.
  model::credentials credentials(const char* name, const std::string& owner, const keyring& keys) {
    const auto* found = json::member(object_, name);
    if (found == nullptr)
      return {};
    model::credentials who{json::string_member(*found, "username"), {}};
    auto password = keys.open(json::string_member(*found, "password"), place_of(owner, name));
    if (password)
      who.password = *std::move(password);
    else
      refuse(std::string{name} + ": " + password.error());
    if (who.username.empty() && !who.password.empty())
      refuse(std::string{name} + " has a password and no username");
    return who;
  }
  template <class Enum, std::size_t Count>
  Enum word(const char* name, const base::enum_words<Enum, Count>& known) {
    auto given = text(name);
    if (auto value = known.value_of(given))
      return *value;
    refuse(std::string{name} + " has the unknown value " + matriarch::quoted(given));
    return known.all.front().first;
  }
  void refuse(const std::string& why) {
    if (why_.empty())
      why_ = why;
  }
  [[nodiscard]] const std::string& why() const { return why_; }

private:
  const json::value& object_;
  std::string why_;
};

[[nodiscard]] inline std::int64_t milliseconds_of(model::wall_time t) {
  return t.time_since_epoch().count();
}

[[nodiscard]] json::value encode_credentials(const model::credentials& c, const std::string& place,
                                             const keyring& keys, json::document& owner);

/// An object under construction.
struct writer {
  json::document owner;
  writer() { owner.SetObject(); }
  template <class T>
  void add(const char* name, const T& what) {
    json::add(owner, name, what, owner);
  }
  void add_credentials(const char* name, const model::credentials& c, const std::string& of,
                       const keyring& keys) {
    json::add(owner, name, encode_credentials(c, place_of(of, name), keys, owner), owner);
  }
  /// `min_reader`: what a reader has to know of it.
  std::string text(int min_reader = own_min_reader) {
    add_format(owner, min_reader);
    return json::text_of(owner);
  }
};

/// An object whose members are texts.
[[nodiscard]] json::value encode_texts(const std::map<std::string, std::string>& texts,
                                       json::document& owner);
[[nodiscard]] std::map<std::string, std::string> decode_texts(const json::value& object,
                                                              const char* name);

[[nodiscard]] json::value encode_list(const std::vector<std::string>& texts, json::document& owner);
[[nodiscard]] std::vector<std::string> decode_list(const json::value& object, const char* name);

/// Parses an object's text and passes it to `read`, which notes what is wrong.
template <class T, class Read>
[[nodiscard]] result<T> decode(std::string_view text, const char* what, Read read) {
  auto parsed = json::parse(text);
  if (!parsed)
    return failure{std::string{what} + ": " + parsed.error()};
  reader in{*parsed};
  T value = in.why().empty() ? read(in, *parsed) : T{};
  if (!in.why().empty())
    return failure{std::string{what} + ": " + in.why()};
  return value;
}

/// Like decode(), for a value of this program, after a check of its `min_reader`.
template <class T, class Read>
[[nodiscard]] result<T> decode_own(std::string_view text, const char* what, Read read) {
  return decode<T>(text, what, [&](reader& in, const json::value& object) {
    auto why_not = why_not_to_read(object);
    if (!why_not)
      return read(in, object);
    in.refuse(*why_not);
    return T{};
  });
}

} // namespace matriarch::store
