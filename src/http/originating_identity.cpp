#include "http/originating_identity.hpp"

#include "base/base64.hpp"
#include "base/utf8.hpp"

namespace matriarch::http {

namespace {

failure wrong(const std::string& why) {
  return failure{"the header X-Broker-API-Originating-Identity " + why
                 + "; send the platform's name, a space, and a JSON object in Base64"};
}

} // namespace

std::string originating_identity::text() const {
  return platform + " " + json::canonical_text_of(value);
}

result<std::optional<originating_identity>> read_originating_identity(const request& got) {
  const auto* sent = got.header("x-broker-api-originating-identity");
  if (sent == nullptr)
    return std::optional<originating_identity>{};
  auto space = sent->find(' ');
  auto start = sent->find_first_not_of(' ', space);
  if (space == 0 || space == std::string::npos || start == std::string::npos)
    return wrong("has to have two parts");
  auto platform = sent->substr(0, space);
  if (!is_utf8(platform))
    return wrong("names a platform that is not UTF-8");
  auto decoded = base::from_base64(std::string_view{*sent}.substr(start), base::padding::optional);
  if (!decoded)
    return wrong("holds something else than Base64");
  auto value = json::parse(*decoded);
  if (!value.ok())
    return wrong("does not hold valid JSON: " + value.error());
  if (!value->IsObject())
    return wrong("does not hold a JSON object");
  return std::optional{originating_identity{std::move(platform), std::move(*value)}};
}

} // namespace matriarch::http
