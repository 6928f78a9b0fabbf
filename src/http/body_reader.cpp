#include "http/body_reader.hpp"

#include <algorithm>
#include <cctype>
#include <string_view>
#include <utility>

#include "http/osb_answers.hpp"

namespace matriarch::http::osb {

namespace {

/// Whether that media type is JSON's, whatever its parameters are.
bool is_json(std::string_view media_type) {
  constexpr std::string_view json = "application/json";
  auto type = media_type.substr(0, media_type.find(';'));
  type = type.substr(0, type.find_last_not_of(" \t") + 1);
  return std::ranges::equal(type, json, {}, [](char c) {
    return static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  });
}

} // namespace

body_reader::body_reader(const request& got, bool strict) {
  const auto* type = got.header("content-type");
  if (strict && type != nullptr && !is_json(*type)) {
    refuse("the Content-Type is \"" + *type + "\"; send application/json");
    return;
  }
  auto parsed = json::parse(got.body);
  if (!parsed.ok())
    refuse("the body is not valid JSON: " + parsed.error());
  else if (!parsed->IsObject())
    refuse("the body has to be a JSON object");
  else
    body_ = std::move(*parsed);
}

std::string body_reader::text(const char* name, bool required) {
  const auto* found = member(name);
  if (found == nullptr || found->IsNull()) {
    if (required)
      refuse(std::string{name} + " is missing; it has to be a non-empty string");
    return {};
  }
  if (!found->IsString()) {
    refuse(std::string{name} + " has to be a string");
    return {};
  }
  if (required && found->GetStringLength() == 0)
    refuse(std::string{name} + " must not be empty");
  if (found->GetStringLength() > longest_text)
    refuse(std::string{name} + " is longer than " + std::to_string(longest_text) + " bytes");
  return {found->GetString(), found->GetStringLength()};
}

const json::value* body_reader::object(const char* name) {
  const auto* found = member(name);
  if (found == nullptr || found->IsNull())
    return nullptr;
  if (!found->IsObject()) {
    refuse(std::string{name} + " has to be an object");
    return nullptr;
  }
  return found;
}

std::optional<std::string> body_reader::object_text(const char* name) {
  const auto* found = object(name);
  if (found == nullptr)
    return std::nullopt;
  auto text = json::canonical_text_of(*found);
  if (text.size() > longest_object)
    refuse(std::string{name} + " is longer than " + std::to_string(longest_object) + " bytes");
  return text;
}

bool body_reader::flag(const char* name) const {
  const auto* found = member(name);
  return found != nullptr && found->IsBool() && found->GetBool();
}

void body_reader::refuse(const std::string& why) {
  if (!wrong_)
    wrong_ = error(400, why);
}

bool body_reader::has(const char* name) const {
  return member(name) != nullptr;
}

const json::value* body_reader::member(const char* name) const {
  return body_.IsObject() ? json::member(body_, name) : nullptr;
}

} // namespace matriarch::http::osb
