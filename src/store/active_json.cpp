#include "store/active_json.hpp"

#include "store/stored_object.hpp"

namespace matriarch::store {

std::string encode_active(const active_broker& who) {
  writer out;
  out.add("broker_id", who.broker_id);
  out.add("address", who.address);
  out.add("host", who.host);
  out.add("machine", who.machine);
  return out.text();
}

result<active_broker> decode_active(std::string_view text) {
  return decode<active_broker>(text, "active broker", [](reader& in, const json::value& found) {
    // Earlier brokers did not write the last two members.
    return active_broker{in.text("broker_id"), in.text("address"),
                         json::string_member(found, "host"), json::string_member(found, "machine")};
  });
}

} // namespace matriarch::store
