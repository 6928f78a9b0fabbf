// What Patroni's members say of themselves, up to the configuration that HAProxy gets.
#include <algorithm>
#include <array>
#include <set>

#include "fuzz/fuzz.hpp"
#include "router/haproxy_config.hpp"
#include "router/routing_table.hpp"
#include "store/record_json.hpp"

using namespace matriarch;
using namespace matriarch::router;
using fuzz::must;

namespace {

constexpr std::string_view record =
    R"({"scope":"db","phase":"accepted","nodes":[{"node_id":"n1"},{"node_id":"n2"}]})";

/// The first words of a text's lines, comments left out.
std::set<std::string_view> directives_of(std::string_view text) {
  std::set<std::string_view> words;
  while (!text.empty()) {
    auto end = std::min(text.find('\n'), text.size());
    auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
    if (!line.empty() && !line.starts_with('#'))
      words.insert(line.substr(0, line.find(' ')));
  }
  return words;
}

/// Of a route that nobody has tampered with.
const std::set<std::string_view>& known_directives() {
  static const auto text =
      haproxy_config_of(
          {}, {{"db", "db", 30000, {{"n1", {"127.0.0.1", 5432}, {"127.0.0.1", 8008}}}, 30001}})
          .text();
  static const auto words = directives_of(text);
  return words;
}

/// No text from etcd begins a line, or a directive, of its own.
void must_be_configuration(const haproxy_config& config) {
  auto text = config.text();
  must(std::ranges::all_of(text, [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); }),
       "HAProxy's file is printable ASCII", text);
  for (auto word : directives_of(text))
    must(known_directives().contains(word), "a directive is one of ours", word);
}

void list_all(routing_table& table, const std::vector<std::pair<std::string, std::string>>& all) {
  table.begin_listing();
  for (const auto& [key, value] : all)
    table.list(key, value);
  table.end_listing();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size, 3};
  auto text = in.text;
  if (auto read = store::decode_member(text); !read)
    fuzz::must_be_an_error(read.error());

  routing_table table;
  table.put("/routing/allocation/db", in.which == 1 ? text : "30000");
  table.put("/routing/readonly/db", in.which == 1 ? text : "30001");
  table.put("/service/db/state", in.which == 2 ? text : record);
  table.put("/service/db/members/n1", text);
  table.put(
      "/service/db/members/n2",
      R"({"conn_url":"postgres://127.0.0.2:5432/postgres","api_url":"http://127.0.0.2:8008/patroni"})");
  table.put("/service/db/leader", text);
  auto routes = table.current();
  std::set<std::uint16_t> ports;
  for (const auto& served : routes.served) {
    must(ports.insert(served.port).second, "no port is served twice");
    must(served.read_only_port == 0 || ports.insert(served.read_only_port).second,
         "no port is served twice");
    for (const auto& member : served.members)
      must(is_host(member.postgresql.host) && is_host(member.patroni.host)
               && member.postgresql.port != 0 && member.patroni.port != 0,
           "members are reached at hosts", member.postgresql.host);
  }
  auto config = haproxy_config_of({}, routes.served);
  must_be_configuration(config);
  // A router that starts reads what its predecessor wrote.
  must(parse_haproxy_config(config.text()) == config, "HAProxy's file is read as it was written",
       config.text());

  // All at once is the same as one by one.
  routing_table listed;
  list_all(
      listed,
      {{"/routing/allocation/db", in.which == 1 ? std::string{text} : "30000"},
       {"/routing/readonly/db", in.which == 1 ? std::string{text} : "30001"},
       {"/service/db/state", std::string{in.which == 2 ? text : record}},
       {"/service/db/members/n1", std::string{text}},
       {"/service/db/members/n2",
        R"({"conn_url":"postgres://127.0.0.2:5432/postgres","api_url":"http://127.0.0.2:8008/patroni"})"},
       {"/service/db/leader", std::string{text}}});
  must(listed.current() == routes, "listed or changed, the routes are the same");
  // Once everything is gone, nothing is served.
  list_all(listed, {});
  must(listed.current().served.empty(), "of nothing nothing is served");
  return 0;
}
