#include "model/addresses.hpp"

#include <algorithm>

#include "base/utf8.hpp"

namespace matriarch::model {

namespace {

// A DNS name has 253 characters at most, and a port 5.
constexpr std::size_t longest_place = 262;

node_addresses announced_by(const member& one) {
  return {std::string{place_in(one.conn_url)}, std::string{place_in(one.api_url)}, false, false};
}

/// A text from a member key, made safe to print.
std::string shown(const std::string& place) {
  return one_line(place, longest_place);
}

judged_addresses urls_of(const node_addresses& at, const member& announced, const node& listed,
                         const cell_origin& cell, const engine& of) {
  // TLS is used if the cell or the member key says so: a member key can only add TLS, not remove
  // it.
  auto by_tls = at.control_certified || announced.api_url.starts_with("https:");
  auto urls = of.urls(at, listed.node_id, cell.ours, by_tls);
  judged_addresses judged;
  if (is_place(at.database)) {
    judged.conn_url = std::move(urls.database);
    judged.login_url = std::move(urls.login);
  }
  if (is_place(at.control))
    judged.api_url = std::move(urls.control);
  return judged;
}

} // namespace

bool is_host(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.'
           || c == '-' || c == '_' || c == ':';
  });
}

bool is_place(std::string_view text) {
  auto colon = text.rfind(':');
  if (colon == std::string_view::npos || colon + 1 == text.size() || text.size() > longest_place
      || !is_host(host_of(text)))
    return false;
  return std::ranges::all_of(text.substr(colon + 1), [](char c) { return c >= '0' && c <= '9'; });
}

std::string_view place_in(std::string_view url) {
  auto begin = url.find("//");
  if (begin == std::string_view::npos)
    return {};
  url = url.substr(begin + 2);
  url = url.substr(0, url.find_first_of("/?#"));
  return url.substr(url.rfind('@') + 1); // the whole text if there is no `@`
}

std::string_view host_of(std::string_view place) {
  if (place.starts_with('['))
    return place.substr(1, place.find(']') - 1);
  return place.substr(0, place.rfind(':'));
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
                                 const cell_origin& cell, const engine& of) {
  if (listed == nullptr)
    return {}; // not a node of this instance
  auto said = announced_by(announced);
  // Only a valid host and port is learnt: an invalid text could hide anything after the colon.
  bool is_somewhere = is_place(said.database) && is_place(said.control);
  bool at_its_cell = !cell.host.empty() && is_somewhere && host_of(said.database) == cell.host
                     && host_of(said.control) == cell.host;
  bool known = listed->address && !listed->address->empty();
  if (known && !(cell.foreign && at_its_cell)) {
    node_addresses registered{*listed->address, listed->control_address, listed->certified,
                              listed->control_certified};
    // Cells of earlier releases do not report a node's control address.
    if (registered.control.empty() && is_place(said.control)
        && host_of(said.control) == host_of(registered.database))
      registered.control = said.control;
    auto judged = urls_of(registered, announced, *listed, cell, of);
    auto elsewhere = said.database != registered.database || said.control != registered.control;
    if (elsewhere && !said.database.empty())
      judged.doubt = "node " + listed->node_id + " says that it is at " + shown(said.database)
                     + " and " + shown(said.control) + "; its cell says " + registered.database
                     + " and " + registered.control + ": the cell's addresses are used";
    return judged;
  }
  if (cell.foreign && at_its_cell) {
    auto judged = urls_of(said, announced, *listed, cell, of);
    if (!known || said != node_addresses{*listed->address, listed->control_address, false, false})
      judged.learnt = said;
    return judged;
  }
  if (cell.foreign) {
    judged_addresses judged;
    judged.doubt = "node " + listed->node_id + " says that it is at " + shown(said.database)
                   + " and " + shown(said.control) + ", but its cell is at " + cell.host
                   + ", and is a foreign one: the node is not connected to";
    return judged;
  }
  // A record from before addresses were kept: use the member key until the cell reports an address.
  return listed->address ? judged_addresses{} : urls_of(said, announced, *listed, cell, of);
}

} // namespace matriarch::model
