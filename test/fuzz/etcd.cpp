// etcd's answers, and the lines of a watch.
#include "engines/postgresql/router/port_check.hpp"
#include "fuzz/fuzz.hpp"
#include "router/routing_table.hpp"
#include "store/etcd_json.hpp"

using namespace matriarch;
using namespace matriarch::store;
using fuzz::must;

namespace {

constexpr std::size_t codecs = 6;

/// A failure never has what was stored, but may have what etcd said, which is cut and made one line
/// before anybody sees it.
template <class T>
bool is_read(const result<T>& outcome) {
  if (!outcome)
    must(!outcome.error().empty(), "an error says something");
  return outcome.ok();
}

transaction asking(std::size_t reads) {
  transaction what;
  what.compares = {absent("/service/db/state")};
  what.then = {put{"/service/db/state", "{}"}};
  for (std::size_t i = 0; i < reads; ++i)
    what.otherwise.push_back(store::read{keys_below("/service/db/")});
  return what;
}

void read_answer_to(const transaction& what, std::string_view text) {
  auto outcome = etcd_json::read_commit(text, what);
  if (!is_read(outcome))
    return;
  must(outcome->state == commit_state::committed || outcome->state == commit_state::refused,
       "an answer says what became of it");
  must(outcome->reads.size()
           == (outcome->state == commit_state::committed ? 0 : what.otherwise.size()),
       "every read is answered");
}

/// As a router follows them: whatever the lines say, what it would serve can be served.
void follow(std::string_view lines) {
  static const router::engine_checks known_engines{{matriarch::engines::postgresql::port_check()}};
  router::routing_table table{known_engines};
  while (!lines.empty()) {
    auto end = std::min(lines.find('\n'), lines.size());
    auto line = etcd_json::read_watch_line(lines.substr(0, end));
    lines.remove_prefix(std::min(end + 1, lines.size()));
    if (!is_read(line))
      return;
    must(line->compacted >= 0, "no revision is negative");
    for (const auto& one : line->events) {
      if (one.what == change::kind::put)
        table.put(one.entry.key, one.entry.value);
      else
        table.erase(one.entry.key);
    }
  }
  for (const auto& served : table.current().served)
    must(served.port != 0 && !served.members.empty(), "what is served has a port and members");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size, codecs};
  switch (in.which) {
  case 0:
  case 1:
    read_answer_to(asking(in.which), in.text);
    break;
  case 2:
    if (auto range = etcd_json::read_range(in.text); is_read(range))
      must(range->count >= 0 && range->at >= 0, "no count is negative");
    break;
  case 3:
    if (auto lease = etcd_json::read_lease(in.text); is_read(lease))
      must(lease->ttl.count() >= 0, "no time to live is negative");
    break;
  case 4:
    follow(in.text);
    break;
  default: {
    auto why = etcd_json::read_refusal(in.text);
    (void)etcd_json::refuses_token(400, why);
    (void)etcd_json::certainly_not_done(503, why);
    (void)etcd_json::worth_another_endpoint(503, why);
    (void)etcd_json::users_changed_meanwhile(why);
  }
  }
  return 0;
}
