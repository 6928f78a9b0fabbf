#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/engine.hpp"
#include "model/observation.hpp"
#include "model/record.hpp"

/// Where nodes are reached. A member key is written by the node, and whoever has the
/// superuser of its database has that: what it says of addresses is compared, and never followed.
namespace matriarch::model {

/// What is known of the cell that a node is on.
struct cell_origin {
  std::string host; ///< of the cell's configured URI; empty if the cell is not configured
  /// Whether it is of another make, which says of no node where it is: its nodes are at its own host.
  bool foreign = false;
  bool ours = false; ///< it has said that it is one of ours; neither, before it has answered once
};

/// What is to be believed of a member's key.
struct judged_addresses {
  /// Where to connect, in the form of the member key's own URLs. Empty: nowhere.
  std::string conn_url;
  std::string api_url;
  /// The first with what has to be checked of the server before anybody logs in.
  std::string login_url = {};
  /// To be kept in the record, if it is not what the record has.
  std::optional<node_addresses> learnt = {};
  /// What an operator should know; empty if there is nothing.
  std::string doubt = {};
};

/// `listed`: the record's node of that name; nullptr if there is none.
[[nodiscard]] judged_addresses judge_addresses(const member& announced, const node* listed,
                                               const cell_origin& cell, const engine& of);

/// Whether it may be a host's name or an IP address. Everything else could mean something in a URL.
[[nodiscard]] bool is_host(std::string_view text);
/// Whether it is such a host and a port.
[[nodiscard]] bool is_place(std::string_view text);
/// The part of a URL between `//`, or a user name's `@`, and the next `/`.
[[nodiscard]] std::string_view place_in(std::string_view url);
/// `10.0.0.1` of `10.0.0.1:5432`, `fd00::1` of `[fd00::1]:5432`.
[[nodiscard]] std::string_view host_of(std::string_view place);
/// `host:port`, with brackets around an IPv6 address; empty unless it is both.
[[nodiscard]] std::string place_of(std::string_view host, std::int64_t port);

} // namespace matriarch::model
