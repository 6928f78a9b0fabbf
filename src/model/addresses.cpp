#include "model/addresses.hpp"

#include <algorithm>

#include "base/utf8.hpp"

namespace matriarch::model {

namespace {

/// What may stand in a host's name or an IP address. Everything else could mean something in a URL.
bool is_host(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.'
           || c == '-' || c == '_' || c == ':';
  });
}

// A DNS name has 253 characters at most, and a port 5.
constexpr std::size_t longest_place = 262;

bool is_place(std::string_view text) {
  auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == text.size() || text.size() > longest_place
      || !is_host(host_of(text)))
    return false;
  return std::ranges::all_of(text.substr(colon + 1), [](char c) { return c >= '0' && c <= '9'; });
}

node_addresses announced_by(const member& one) {
  return {std::string{place_in(one.conn_url)}, std::string{place_in(one.api_url)}, false, false};
}

/// A member's word as it may be repeated.
std::string shown(const std::string& place) {
  return one_line(place, longest_place);
}

/// A node of a cell of ours speaks TLS since there are such, and knows its own password's verifier:
/// where no certificate can be checked, SCRAM binds the password to the connection, so that nobody
/// between can pass it on. One that is certified has to show for whom. What cells of another make do
/// is not known.
std::string login_url(const node_addresses& at, const std::string& node_id, bool ours) {
  auto url = "postgres://" + at.postgresql + "/" + maintenance_database;
  if (!at.certified)
    return ours ? url + "?sslmode=require&channel_binding=require" : url;
  auto port = at.postgresql.substr(at.postgresql.rfind(':'));
  return "postgres://" + node_id + port + "/" + maintenance_database
         + "?hostaddr=" + std::string{host_of(at.postgresql)} + "&sslmode=verify-full";
}

judged_addresses urls_of(const node_addresses& at, const member& announced, const node& listed,
                         const cell_origin& cell) {
  judged_addresses judged;
  if (is_place(at.postgresql)) {
    judged.conn_url = "postgres://" + at.postgresql + "/" + maintenance_database;
    judged.login_url = login_url(at, listed.node_id, cell.ours);
  }
  // A member's own word is enough for more than its cell has said, and never for less.
  auto scheme = at.patroni_certified || announced.api_url.starts_with("https:") ? "https" : "http";
  if (is_place(at.patroni))
    judged.api_url = std::string{scheme} + "://" + at.patroni + "/patroni";
  return judged;
}

} // namespace

std::string_view place_in(std::string_view url) {
  auto begin = url.find("//");
  if (begin == std::string_view::npos)
    return {};
  url = url.substr(begin + 2);
  url = url.substr(0, url.find_first_of("/?#"));
  return url.substr(url.rfind('@') + 1); // all of it where there is none
}

std::string_view host_of(std::string_view place) {
  if (place.starts_with('['))
    return place.substr(1, place.find(']') - 1);
  return place.substr(0, place.rfind(':'));
}

std::optional<login_target> login_target_in(std::string_view url) {
  auto place = place_in(url);
  if (!is_place(place))
    return std::nullopt;
  login_target target{std::string{host_of(place)}, std::string{place.substr(place.rfind(':') + 1)}};
  auto question = url.find('?');
  while (question != std::string_view::npos) {
    url.remove_prefix(question + 1);
    question = url.find('&');
    auto setting = url.substr(0, question);
    auto name = setting.substr(0, setting.find('='));
    auto value = setting.substr(std::min(name.size() + 1, setting.size()));
    if (name == "hostaddr" && is_host(value))
      target.address = value;
    else if (name == "sslmode" && (value == "require" || value == "verify-full"))
      target.sslmode = value;
    else if (name == "channel_binding" && value == "require")
      target.channel_binding = value;
    else
      return std::nullopt;
  }
  return target;
}

std::string place_of(std::string_view host, std::int64_t port) {
  constexpr std::int64_t highest_port = 65'535;
  if (!is_host(host) || port < 1 || port > highest_port)
    return {};
  bool is_ipv6 = host.find(':') != std::string_view::npos;
  std::string text{host};
  return (is_ipv6 ? "[" + text + "]" : text) + ":" + std::to_string(port);
}

judged_addresses judge_addresses(const member& announced, const node* listed,
                                 const cell_origin& cell) {
  if (listed == nullptr)
    return {}; // whoever it is, it is no node of this instance
  auto said = announced_by(announced);
  // What is no place is not learnt: after a host's name and a colon there may be anything.
  bool is_somewhere = is_place(said.postgresql) && is_place(said.patroni);
  bool at_its_cell = !cell.host.empty() && is_somewhere && host_of(said.postgresql) == cell.host
                     && host_of(said.patroni) == cell.host;
  bool known = listed->address && !listed->address->empty();
  if (known && !(cell.foreign && at_its_cell)) {
    node_addresses registered{*listed->address, listed->patroni_address, listed->certified,
                              listed->patroni_certified};
    // Earlier cells say nothing of Patroni's port.
    if (registered.patroni.empty() && is_place(said.patroni)
        && host_of(said.patroni) == host_of(registered.postgresql))
      registered.patroni = said.patroni;
    auto judged = urls_of(registered, announced, *listed, cell);
    auto elsewhere = said.postgresql != registered.postgresql || said.patroni != registered.patroni;
    if (elsewhere && !said.postgresql.empty())
      judged.doubt = "node " + listed->node_id + " says that it is at " + shown(said.postgresql)
                     + " and " + shown(said.patroni) + "; its cell says " + registered.postgresql
                     + " and " + registered.patroni + ", which is what is used";
    return judged;
  }
  if (cell.foreign && at_its_cell) {
    auto judged = urls_of(said, announced, *listed, cell);
    if (!known || said != node_addresses{*listed->address, listed->patroni_address, false, false})
      judged.learnt = said;
    return judged;
  }
  if (cell.foreign) {
    judged_addresses judged;
    judged.doubt = "node " + listed->node_id + " says that it is at " + shown(said.postgresql)
                   + " and " + shown(said.patroni) + ", but its cell is at " + cell.host
                   + ", and of another make: nothing connects there";
    return judged;
  }
  // From before addresses were kept: until its cell has said where it is, as ever.
  return listed->address ? judged_addresses{} : urls_of(said, announced, *listed, cell);
}

} // namespace matriarch::model
