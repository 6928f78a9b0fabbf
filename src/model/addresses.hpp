#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/engine.hpp"
#include "model/observation.hpp"
#include "model/record.hpp"

/// The addresses of nodes. A node writes its own member key, and so can whoever has the superuser
/// of its database. Addresses in a member key are therefore compared with the cell's, and not
/// trusted.
namespace matriarch::model {

/// What is known of a node's cell.
struct cell_origin {
  std::string host; ///< of the cell's configured URI; empty if the cell is not configured
  /// Whether the cell runs another implementation. Such a cell does not say where its nodes are:
  /// they are at the cell's own host.
  bool foreign = false;
  bool ours =
      false; ///< the cell has identified itself as Matriarch's; both are false until it has answered once
};

/// The addresses of a node that the broker may use.
struct judged_addresses {
  /// Where to connect, in the form of the member key's URLs. Empty: do not connect.
  std::string conn_url;
  std::string api_url;
  /// `conn_url` with what has to be checked of the server before a login.
  std::string login_url = {};
  /// The addresses to write into the record, if they differ from the record's.
  std::optional<node_addresses> learnt = {};
  /// A warning for the operator; empty if there is none.
  std::string doubt = {};
};

/// `listed`: the record's node of that name; nullptr if the record has none.
[[nodiscard]] judged_addresses judge_addresses(const member& announced, const node* listed,
                                               const cell_origin& cell, const engine& of);

/// Whether the text can be a host name or an IP address. Other characters could have a meaning in a
/// URL.
[[nodiscard]] bool is_host(std::string_view text);
/// Whether the text is such a host and a port.
[[nodiscard]] bool is_place(std::string_view text);
/// The host and port of a URL: the part after `//` and a user name's `@`, up to the next `/`.
[[nodiscard]] std::string_view place_in(std::string_view url);
/// `10.0.0.1` of `10.0.0.1:5432`, `fd00::1` of `[fd00::1]:5432`.
[[nodiscard]] std::string_view host_of(std::string_view place);
/// `host:port`, with brackets around an IPv6 address; empty if host or port is invalid.
[[nodiscard]] std::string place_of(std::string_view host, std::int64_t port);

} // namespace matriarch::model
