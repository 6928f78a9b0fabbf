#include "store/port_json.hpp"

#include "store/stored_object.hpp"

namespace matriarch::store {

namespace {

const known_members port_members{{"instance", "resting_since", "format", "min_reader"}};

} // namespace

std::string encode_port_use(const model::port_use& use) {
  writer out;
  out.add("instance", use.name);
  if (use.resting_since)
    out.add("resting_since", milliseconds_of(*use.resting_since));
  add_unknown(out.owner, use.unknown, port_members, out.owner);
  return out.text();
}

result<model::port_use> decode_port_use(std::string_view text, std::int64_t revision) {
  return decode_own<model::port_use>(text, "port", [&](reader& in, const json::value& object) {
    model::port_use use;
    use.name = in.text("instance");
    use.resting_since = in.time_if_any("resting_since");
    use.revision = revision;
    use.unknown = unknown_in(object, port_members);
    return use;
  });
}

std::string with_unknown_of(const model::port_use& before, std::string text) {
  auto use = decode_port_use(text, 0);
  if (before.unknown.empty() || !use.ok() || use->name != before.name)
    return text;
  use->unknown = before.unknown;
  return encode_port_use(*use);
}

} // namespace matriarch::store
