// What Patroni's members say of themselves, up to the files and the commands that HAProxy gets.
#include <algorithm>
#include <map>
#include <set>

#include "engines/postgresql/model/members.hpp"
#include "engines/postgresql/router/port_check.hpp"
#include "fuzz/fuzz.hpp"
#include "router/haproxy_config.hpp"
#include "router/routing_table.hpp"
#include "router/words.hpp"

using namespace matriarch;
using namespace matriarch::router;
using fuzz::must;

namespace {

constexpr std::string_view record =
    R"({"scope":"db","phase":"accepted","nodes":[{"node_id":"n1"},{"node_id":"n2"}]})";
constexpr std::string_view other_record =
    R"({"scope":"other","phase":"accepted","nodes":[{"node_id":"n3"}]})";
constexpr std::string_view second_member =
    R"({"conn_url":"postgres://127.0.0.2:5432/postgres","api_url":"http://127.0.0.2:8008/patroni"})";
constexpr std::string_view other_member =
    R"({"conn_url":"postgres://127.0.0.3:5432/postgres","api_url":"https://127.0.0.3:8008/patroni"})";

const engine_checks known_engines{{engines::postgresql::port_check()}};

/// Few ports, so that the fuzzer sees many inputs: the others' lines are the same.
router_config few_ports() {
  router_config settings;
  settings.engines = &known_engines;
  settings.data_dir = "/d";
  settings.first_port = 30000;
  settings.last_port = 30003;
  settings.slots = 2;
  return settings;
}

const router_config settings = few_ports();

/// The lines, or commands, that nobody's text has got into. A word of theirs that holds a digit or a
/// slash may be another in a line of the same form: so are all names, addresses and ports.
class forms {
public:
  void add(std::string_view text) {
    for (auto line : lines_of(text))
      if (auto words = words_of(line); !is_comment(words))
        known_[words.size()].insert(std::move(words));
  }

  void must_have(std::string_view text) const {
    for (auto line : lines_of(text))
      if (auto words = words_of(line); !is_comment(words))
        must(has(words), "a line is of a form that is ours", line);
  }

private:
  using line_words = std::vector<std::string>;

  static bool is_comment(const line_words& words) {
    return words.empty() || words.front().starts_with('#');
  }

  [[nodiscard]] bool has(const line_words& words) const {
    auto same_size = known_.find(words.size());
    return same_size != known_.end()
           && (same_size->second.contains(words)
               || std::ranges::any_of(same_size->second, [&](const line_words& form) {
                    return std::ranges::equal(form, words, [](const auto& ours, const auto& seen) {
                      return ours == seen || ours.find_first_of("0123456789/") != std::string::npos;
                    });
                  }));
  }

  std::map<std::size_t, std::set<line_words>> known_;
};

/// What HAProxy reads when it starts.
struct start_texts {
  std::string file;
  std::string servers;
  std::vector<std::string> maps;
};

start_texts texts_of(const proxy_state& state, const pem_texts& pem) {
  start_texts texts{
      haproxy_text(settings, state, pem), server_state_file(state, settings.data_dir), {}};
  for (auto which : all_maps)
    texts.maps.push_back(map_text(which, state));
  return texts;
}

proxy_state state_for(const port_table& wanted) {
  return empty_state(shape_for(settings, wanted, {}, [](std::uint16_t) { return true; }));
}

/// A line for each command.
std::string commands_in(const port_changes& changes) {
  std::string text;
  for (const auto& line : changes.lines) {
    must(line.text.find('\n') == std::string::npos, "commands are one line", line.text);
    text += line.text + "\n";
  }
  std::ranges::replace(text, ';', '\n');
  return text;
}

/// What becomes of an instance of two members, one after the other: another leader, another limit, a
/// member that is held back and one that is not any more, and all that can be said of a Patroni.
std::vector<port_table> untampered() {
  routed_member first{"n1", {"127.0.0.1", 5432}, {"127.0.0.1", 8008}, false, false};
  routed_member second{"n2", {"127.0.0.2", 5432}, {"127.0.0.2", 8008}, true, true};
  route one{"db-1", "db-1", 30000, {first, second}, 30001, &known_engines.usual(), 100};
  std::vector<port_table> tables;
  auto then = [&](const std::string& leader) {
    tables.push_back(ports_of(one, leader, settings.limits, 1));
  };
  then("n1");
  then("n2");
  one.max_connections = 50;
  one.members[0].held_back = true;
  one.members[1].control = {"127.0.0.2", 8009};
  then("n2");
  one.members[0].held_back = false;
  one.members[0].control_has_tls = true;
  one.members[1].control_has_tls = one.members[1].is_certified = false;
  then("n2");
  one.members[0].database.port = 5433;
  then("n1");
  return tables;
}

struct known_forms {
  forms file;
  forms servers;
  forms commands;
};

const known_forms& ours() {
  static const auto known = [] {
    known_forms all;
    auto state = state_for({});
    auto change = [&](const port_table& wanted) {
      all.commands.add(commands_in(bring_about(wanted, state, settings.data_dir)));
      for (const auto& authority : {"", "an authority"}) {
        auto texts = texts_of(state, {"", authority});
        all.file.add(texts.file);
        all.servers.add(texts.servers);
      }
    };
    change({});
    for (const auto& wanted : untampered())
      change(wanted);
    change({});
    return all;
  }();
  return known;
}

void must_be_printable(std::string_view text) {
  must(std::ranges::all_of(text, [](char c) { return c == '\n' || (c >= ' ' && c <= '~'); }),
       "what HAProxy gets is printable ASCII", text);
}

/// Each line of a map is a key that is there once, and its value.
void must_be_map(std::string_view text, haproxy_map which, const proxy_state& state) {
  std::set<std::string> keys;
  for (const auto& [port, one] : state)
    if (which != haproxy_map::members)
      keys.insert(key_in(which, port));
    else
      for (const auto& slot : one.slots)
        keys.insert(member_key(port, slot));
  for (auto line : lines_of(text)) {
    auto words = words_of(line);
    must(words.size() == 2 && keys.erase(words[0]) == 1, "a map has a value for a key", line);
  }
}

/// No text from etcd begins a line, or a directive, of its own.
void must_be_ours(const start_texts& texts, const proxy_state& state) {
  must_be_printable(texts.file);
  must_be_printable(texts.servers);
  ours().file.must_have(texts.file);
  ours().servers.must_have(texts.servers);
  for (auto which : all_maps) {
    const auto& map = texts.maps[static_cast<std::size_t>(which)];
    must_be_printable(map);
    must_be_map(map, which, state);
  }
  std::set<std::string> opened;
  for (auto line : lines_of(texts.file))
    if (auto words = words_of(line); words.size() > 1 && words[0] == "bind")
      must(opened.insert(words[1]).second, "no port is opened twice", line);
}

/// A router that starts reads what its predecessor wrote.
void must_be_read_back(const start_texts& texts, const port_table& wanted) {
  port_table expected;
  for (const auto& [port, want] : wanted) {
    // An empty slot has that address: who is really there has no place in a table that is read.
    if (std::ranges::any_of(want->servers, [](const slot_content& server) {
          return server.database.host == nowhere.host;
        }))
      return;
    auto one = *want;
    one.instance.clear();
    // Whom readers are kept from gets no slot, and a leader is told by its own port alone.
    one.held.clear();
    if (!one.to_leader)
      one.leader.reset();
    if (!one.servers.empty())
      expected.emplace(port, std::make_shared<const wanted_port>(std::move(one)));
  }
  auto read = table_of(state_of({texts.servers, {}, texts.maps}));
  must(std::ranges::equal(read, expected,
                          [](const auto& a, const auto& b) {
                            return a.first == b.first && *a.second == *b.second;
                          }),
       "HAProxy's files are read as they were written", texts.servers);
}

/// HAProxy starts with that, and with something else that becomes it and is closed at last.
void serve(const port_table& wanted, const pem_texts& pem) {
  auto started = state_for(wanted);
  (void)bring_about(wanted, started, settings.data_dir);
  auto texts = texts_of(started, pem);
  must_be_ours(texts, started);
  must_be_read_back(texts, wanted);

  auto state = state_for(wanted);
  auto change = [&](const port_table& to) {
    auto changes = bring_about(to, state, settings.data_dir);
    must(changes.crowded.empty() && changes.unbound.empty(), "there is room for all");
    auto commands = commands_in(changes);
    must_be_printable(commands);
    ours().commands.must_have(commands);
  };
  static const auto ordinary = untampered().front();
  for (const auto& to : {port_table{}, wanted, ordinary, wanted}) {
    change(to);
    must_be_ours(texts_of(state, pem), state);
  }
  must(bring_about(wanted, state, settings.data_dir).lines.empty(), "what is done is done");
  change({});
  for (auto which : all_maps)
    must(map_text(which, state).empty(), "of what is closed nothing is left");
}

using entries = std::vector<std::pair<std::string, std::string>>;

void list_all(routing_table& table, const entries& all) {
  table.begin_listing();
  for (const auto& [key, value] : all)
    table.list(key, value);
  table.end_listing();
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size, 3};
  const std::string text{in.text};
  if (auto read = engines::postgresql::member_in(text); !read)
    fuzz::must_be_an_error(read.error());

  const entries all{{"/routing/allocation/db", in.which == 1 ? text : "30000"},
                    {"/routing/readonly/db", in.which == 1 ? text : "30001"},
                    {"/routing/allocation/other", "30002"},
                    {"/routing/readonly/other", "30003"},
                    {"/routing/authority", text},
                    {"/service/db/state", in.which == 2 ? text : std::string{record}},
                    {"/service/db/config", text},
                    {"/service/db/members/n1", text},
                    {"/service/db/members/n2", std::string{second_member}},
                    {"/service/db/leader", in.which == 1 ? text : "n1"},
                    {"/service/other/state", std::string{other_record}},
                    {"/service/other/members/n3", std::string{other_member}}};
  routing_table table{known_engines};
  for (const auto& [key, value] : all)
    table.put(key, value);
  auto routes = table.current();
  std::set<std::uint16_t> ports;
  wanted_ports wanted;
  for (const auto& served : routes.served) {
    must(ports.insert(served.port).second, "no port is served twice");
    must(served.read_only_port == 0 || ports.insert(served.read_only_port).second,
         "no port is served twice");
    for (const auto& member : served.members)
      must(is_host(member.database.host) && is_host(member.control.host)
               && member.database.port != 0 && member.control.port != 0,
           "members are reached at hosts", member.database.host);
    wanted.set(served.instance, ports_of(served, table.leader(served.scope), settings.limits, 1));
  }
  must(std::ranges::equal(wanted.table(), ports, {}, [](const auto& one) { return one.first; }),
       "what HAProxy shall serve are the routes' ports");
  serve(wanted.table(), {"", table.authority()});

  // All at once is the same as one by one.
  routing_table listed{known_engines};
  list_all(listed, all);
  must(listed.current() == routes, "listed or changed, the routes are the same");
  // Once everything is gone, nothing is served.
  list_all(listed, {});
  must(listed.current().served.empty(), "of nothing nothing is served");
  return 0;
}
