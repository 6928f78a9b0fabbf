#include "engines/postgresql/model/members.hpp"

#include <cstddef>
#include <sstream>

#include "base/json.hpp"

namespace matriarch::engines::postgresql {

namespace {

// Bounds on what is repeated in answers and kept in memory: Patroni's states have 20 letters, a URL
// with a host name 300.
constexpr std::size_t longest_state = 64;
constexpr std::size_t longest_url = 512;
constexpr std::size_t most_standbys = 100;

/// A text of a member's key; empty if it is too long to be genuine.
std::string short_member(const json::value& object, const char* name, std::size_t longest) {
  auto text = json::string_member(object, name);
  return text.size() <= longest ? text : std::string{};
}

} // namespace

result<model::member> member_in(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed)
    return failure{"member: " + parsed.error()};
  if (!parsed->IsObject())
    return failure{"member: not a JSON object"};
  model::member one{short_member(*parsed, "state", longest_state),
                    short_member(*parsed, "api_url", longest_url),
                    short_member(*parsed, "conn_url", longest_url),
                    json::integer_member(*parsed, "timeline"),
                    json::integer_member(*parsed, "xlog_location"),
                    json::string_member(*parsed, "replication_state") == "streaming"};
  const auto role = json::string_member(*parsed, "role");
  one.leads_standbys = role == "standby_leader";
  one.takes_writes = role == "master" || role == "primary"; // Patroni 4 says primary
  return one;
}

std::set<std::string> standbys_in(std::string_view text) {
  auto parsed = json::parse(text);
  if (!parsed)
    return {};
  std::set<std::string> standbys;
  std::istringstream listed{json::string_member(*parsed, "sync_standby")};
  for (std::string name; std::getline(listed, name, ',');)
    if (!name.empty() && name.size() <= longest_state && standbys.size() < most_standbys)
      standbys.insert(name);
  return standbys;
}

} // namespace matriarch::engines::postgresql
