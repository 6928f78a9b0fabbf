// The values of this program's keys in etcd.
#include "engines/postgresql/model/decisions.hpp"
#include "engines/postgresql/model/members.hpp"
#include "fuzz/fuzz.hpp"
#include "http/osb_answers.hpp"
#include "http/osb_bindings.hpp"
#include "store/active_json.hpp"
#include "store/binding_json.hpp"
#include "store/port_json.hpp"
#include "store/record_json.hpp"
#include "store/tombstone_json.hpp"

using namespace matriarch;
using fuzz::must;

namespace {

constexpr std::size_t codecs = 7;

const store::keyring& sealing() {
  static const auto keys = store::keyring::parse(std::string(64, 'a'));
  return *keys;
}

/// What was read is written so that it is read again as the same, and agrees with what was read.
void must_agree(std::string_view read, const std::string& written) {
  fuzz::must_be_json(written);
  auto before = json::parse(read);
  auto after = json::parse(written);
  fuzz::must_agree(*before, *after);
}

void read_record(std::string_view text) {
  const store::keyring plain;
  auto read = store::decode_record(text, plain);
  if (!read)
    return fuzz::must_be_an_error(read.error());
  auto written = store::encode_record(*read, plain);
  must_agree(text, written);
  auto again = store::decode_record(written, plain);
  must(again.ok() && *again == *read, "a record that is written is read as the same", written);
  auto sealed = store::encode_record(*read, sealing());
  auto opened = store::decode_record(sealed, sealing());
  must(opened.ok() && *opened == *read, "a sealed record opens as the same", written);
  // And a platform can be told of it.
  model::instance_snapshot published;
  published.known = *read;
  fuzz::must_be_json(http::osb::instance(published).body);
  fuzz::must_be_json(http::osb::last_operation(published).body);
}

void read_binding(std::string_view text) {
  const store::keyring plain;
  auto read = store::decode_binding(text, "db", plain);
  if (!read)
    return fuzz::must_be_an_error(read.error());
  auto written = store::encode_binding(*read, "db", plain);
  must_agree(text, written);
  auto again = store::decode_binding(written, "db", plain);
  must(again.ok() && *again == *read, "a binding that is written is read as the same", written);
  auto opened =
      store::decode_binding(store::encode_binding(*read, "db", sealing()), "db", sealing());
  must(opened.ok() && *opened == *read, "a sealed binding opens as the same", written);
  model::instance_snapshot known;
  fuzz::must_be_json(
      http::osb::fetched_binding({known, *read, engines::postgresql::decisions(), "localhost"})
          .body);
}

template <class Decode, class Encode>
void read_other(std::string_view text, Decode decode, Encode encode) {
  auto read = decode(text);
  if (!read)
    return fuzz::must_be_an_error(read.error());
  auto written = encode(*read);
  must_agree(text, written);
  auto again = decode(written);
  must(again.ok() && encode(*again) == written, "what is written is read as the same", written);
}

void open_sealed(std::string_view text) {
  auto opened = sealing().open(text, "db/role");
  if (!opened)
    return fuzz::must_be_an_error(opened.error());
  must(*opened == text, "nobody without the key makes something that opens", text);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size, codecs};
  switch (in.which) {
  case 0:
    read_record(in.text);
    break;
  case 1:
    read_binding(in.text);
    break;
  case 2:
    read_other(in.text, store::decode_tombstone, store::encode_tombstone);
    break;
  case 3:
    read_other(
        in.text, [](std::string_view text) { return store::decode_port_use(text, 7); },
        store::encode_port_use);
    break;
  case 4:
    read_other(in.text, store::decode_active, store::encode_active);
    break;
  case 5:
    for (const auto& standby : engines::postgresql::standbys_in(in.text))
      must(!standby.empty() && standby.find(',') == std::string::npos, "a standby has a name");
    break;
  default:
    open_sealed(in.text);
  }
  return 0;
}
