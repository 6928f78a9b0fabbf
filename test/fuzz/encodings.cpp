// Percent-encoding, Base64, UTF-8, URLs and the headers that are made of them.
#include "base/base64.hpp"
#include "base/percent_encoding.hpp"
#include "base/utf8.hpp"
#include "fuzz/fuzz.hpp"
#include "http/access.hpp"
#include "http/originating_identity.hpp"
#include "http/request_head.hpp"
#include "model/names.hpp"
#include "router/endpoint.hpp"

using namespace matriarch;
using fuzz::must;

namespace {

constexpr std::size_t codecs = 5;

void percent(std::string_view text) {
  auto encoded = base::percent_encoded(text);
  for (bool form : {false, true}) {
    auto decoded = http::percent_decoded(encoded, form);
    must(text.find('\0') != std::string_view::npos ? !decoded.ok()
                                                   : decoded.ok() && *decoded == text,
         "what is encoded decodes to itself", text);
    auto direct = http::percent_decoded(text, form);
    if (!direct) {
      fuzz::must_be_an_error(direct.error());
      continue;
    }
    must(direct->size() <= text.size(), "decoding makes nothing longer", text);
    must(direct->find('\0') == std::string::npos, "nothing decodes to NUL", text);
    if (text.find('%') == std::string_view::npos && !form)
      must(*direct == text, "without a percent sign nothing is decoded", text);
  }
}

void base64(std::string_view text) {
  auto encoded = base::to_base64(text);
  auto strictly = base::from_canonical_base64(encoded);
  must(strictly.ok() && *strictly == text, "base64 decodes to itself", text);
  auto unpadded = encoded.substr(0, encoded.find('='));
  auto loosely = base::from_base64(unpadded, base::padding::optional);
  must(loosely.ok() && *loosely == text, "base64 decodes to itself without its padding too", text);
  auto direct = base::from_base64(text);
  if (!direct)
    return fuzz::must_be_an_error(direct.error());
  auto other = base::from_base64(text, base::padding::optional);
  must(other.ok() && *other == *direct, "with its padding a text has one meaning", text);
  auto canonical = base::from_canonical_base64(text);
  must(canonical.ok() == (base::to_base64(*direct) == text), "one text of those is canonical",
       text);
}

void identity(std::string_view text) {
  http::request got;
  got.headers.emplace_back("x-broker-api-originating-identity", text);
  auto read = http::read_originating_identity(got);
  if (!read)
    return fuzz::must_be_an_error(read.error());
  must(read->has_value(), "a header that is there is read");
  auto shown = (*read)->text();
  must(is_utf8(shown), "the identity is UTF-8", shown);
  // Written as a platform would, it is the same again.
  got.headers[0].second = (*read)->platform + " " + base::to_base64(json::text_of((*read)->value));
  auto again = http::read_originating_identity(got);
  must(again.ok() && again->has_value() && (*again)->text() == shown, "the identity stays", shown);
}

void authorization(std::string_view text) {
  http::request got;
  got.headers.emplace_back("authorization", text);
  static const http::gate gate{{{{"user", "secret"}}, {"token"}}};
  auto who = http::read_authorization(got);
  auto admitted = gate.admit(who);
  if (admitted)
    must(*admitted == "user" ? who.username == "user" : *admitted == "token 1",
         "only who is known comes in", *admitted);
}

void texts(std::string_view text) {
  for (std::size_t most : {std::size_t{0}, std::size_t{1}, std::size_t{7}, text.size()}) {
    auto shown = legible(text, most);
    must(is_utf8(shown), "what is shown is UTF-8", shown);
    must(shown.size() <= most + std::string_view{"…"}.size(), "what is shown is cut", shown);
  }
  if (is_utf8(text))
    must(legible(text, text.size()) == text, "what is UTF-8 is shown as it is", text);
  auto name = model::name_of(text);
  must(!name.empty() && name.size() <= 64 && name.find('/') == std::string::npos,
       "a name fits into a key", name);
  must(model::name_of(text) == name, "an id has one name");
  if (is_utf8(text))
    must(is_utf8(matriarch::quoted(text)), "an id is quoted as UTF-8", matriarch::quoted(text));
  if (auto where = router::endpoint_of(text)) {
    must(router::is_host(where->host) && where->port != 0, "an endpoint is a host and a port",
         text);
    must(router::endpoint_of(where->text()) == where, "an endpoint is read as it is written", text);
  }
  if (auto where = router::endpoint_of_url(text))
    must(router::is_host(where->host) && where->port != 0, "a URL's endpoint is a host and a port",
         text);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size, codecs};
  if (in.which == 0)
    percent(in.text);
  else if (in.which == 1)
    base64(in.text);
  else if (in.which == 2)
    identity(in.text);
  else if (in.which == 3)
    authorization(in.text);
  else
    texts(in.text);
  return 0;
}
