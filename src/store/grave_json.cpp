#include "store/grave_json.hpp"

#include <optional>
#include <utility>

#include "store/formats.hpp"
#include "store/stored_object.hpp"

namespace matriarch::store {

namespace {

const known_members grave_members{{"scope", "buried_at", "format", "min_reader"}};

} // namespace

std::string encode_grave(const model::grave& known) {
  writer out;
  out.add("scope", known.scope);
  if (known.buried_at)
    out.add("buried_at", milliseconds_of(*known.buried_at));
  add_unknown(out.owner, known.unknown, grave_members, out.owner);
  return out.text();
}

result<model::grave> decode_grave(std::string_view text) {
  if (auto parsed = json::parse(text); parsed.ok()) {
    if (auto why_not = why_not_to_read(*parsed))
      return failure{"grave: " + *why_not};
  } else if (text.starts_with('{')) {
    return failure{"grave: " + parsed.error()}; // no scope begins with a brace
  }
  auto read = decode<model::grave>(text, "grave", [](reader& in, const json::value& object) {
    return model::grave{in.text("scope"), in.time_if_any("buried_at"),
                        unknown_in(object, grave_members)};
  });
  return read.ok() ? read : model::grave{std::string{text}, std::nullopt};
}

std::string encode_over(std::string_view before, model::grave known) {
  if (auto earlier = decode_grave(before); earlier.ok())
    known.unknown = std::move(earlier->unknown);
  return encode_grave(known);
}

} // namespace matriarch::store
