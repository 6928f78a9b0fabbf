#include "store/cell_json.hpp"

#include "base/json.hpp"

namespace matriarch::store {

std::string encode_cell_announcement(const cell_announcement& said) {
  json::document out;
  out.SetObject();
  json::add(out, "guid", said.guid, out);
  json::add(out, "availability_zone", said.availability_zone, out);
  json::add(out, "uri", said.uri, out);
  json::add(out, "capacity", said.capacity, out);
  json::add(out, "host", said.host, out);
  json::add(out, "owner", said.owner, out);
  if (!said.certificate_request.empty())
    json::add(out, "certificate_request", said.certificate_request, out);
  return json::text_of(out);
}

cell_announcement decode_cell_announcement(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed || !parsed->IsObject())
    return {};
  return {json::string_member(*parsed, "guid"),
          json::string_member(*parsed, "availability_zone"),
          json::string_member(*parsed, "uri"),
          json::integer_member(*parsed, "capacity"),
          json::string_member(*parsed, "host"),
          json::string_member(*parsed, "owner"),
          json::string_member(*parsed, "certificate_request")};
}

std::string encode_cell_word(const cell_word& word) {
  json::document out;
  out.SetObject();
  json::add(out, "certificate", word.certificate, out);
  json::add(out, "plain_http", word.plain_http, out);
  return json::text_of(out);
}

std::optional<cell_word> decode_cell_word(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed || !parsed->IsObject())
    return std::nullopt;
  cell_word word;
  word.certificate = json::string_member(*parsed, "certificate");
  const auto* plain = json::member(*parsed, "plain_http");
  word.plain_http = plain != nullptr && plain->IsBool() && plain->GetBool();
  if (word.certificate.empty())
    return std::nullopt;
  return word;
}

} // namespace matriarch::store
