#include "store/tombstone_json.hpp"

#include "store/ended_json.hpp"
#include "store/stored_object.hpp"

namespace matriarch::store {

namespace {

const known_members tombstone_members{
    {"instance_id", "operation_id", "removed_at", "ended_bindings", "format", "min_reader"},
    {},
    {},
    {{"ended_bindings", &ended_members, "at"}}};

} // namespace

std::string encode_tombstone(const model::tombstone& known) {
  writer out;
  out.add("instance_id", known.instance_id);
  out.add("operation_id", known.operation_id);
  out.add("removed_at", milliseconds_of(known.removed_at));
  if (!known.ended_bindings.empty())
    add_ended(out, known.ended_bindings);
  add_unknown(out.owner, known.unknown, tombstone_members, out.owner);
  return out.text();
}

result<model::tombstone> decode_tombstone(std::string_view text) {
  return decode_own<model::tombstone>(text, "tombstone", [](reader& in, const json::value& object) {
    return model::tombstone{in.text("instance_id"), in.text("operation_id"), in.time("removed_at"),
                            read_ended(object), unknown_in(object, tombstone_members)};
  });
}

} // namespace matriarch::store
