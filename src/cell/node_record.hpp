#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/processes.hpp"
#include "base/result.hpp"
#include "cell/endpoints.hpp"
#include "cell/fencing.hpp"
#include "model/node_limits.hpp"
#include "model/unknown_members.hpp"

namespace matriarch::cell {

struct role {
  std::string username;
  std::string password;
  bool operator==(const role&) const = default;
};

/// What a broker asks for with PUT /v2/service_instances/<node_id>.
struct node_request {
  std::string node_id;
  std::string scope; ///< the cluster that the node joins or starts
  std::string service_id;
  std::string plan_id;
  std::string organization_guid;
  std::string space_guid;
  /// The engine's own parameters, by request_rules::names(); those that were not given are missing.
  std::map<std::string, std::string> parameters = {};
  /// The cluster's own etcd user, for its nodes; without a name if the broker has made none.
  role etcd = {};
  /// The kind of node that the plan asks for; a label that the cell keeps. Empty: any.
  std::string node_type = {};
  /// The limits of the node.
  model::node_limits limits = {};
  bool operator==(const node_request&) const = default;
};

/// The longest node id and scope: they become a directory's name, and must nearly fit into a
/// replication slot's name.
inline constexpr std::size_t longest_node_id = 64;
inline constexpr std::size_t longest_scope = 128;

/// The engine's own parameters in a request for a node.
class request_rules {
public:
  request_rules() = default;
  virtual ~request_rules() = default;
  request_rules(const request_rules&) = delete;
  request_rules& operator=(const request_rules&) = delete;

  /// The names of its parameters, all texts.
  [[nodiscard]] virtual const std::vector<std::string>& names() const = 0;
  /// What is wrong with the parameters, if anything: names the parameter and never repeats a
  /// password.
  [[nodiscard]] virtual std::optional<std::string> fault_of(const node_request& asked) const = 0;
};

/// Whether a text can be a node's id: letters, digits, `_`, `-`, `.` and `~`, not starting with a
/// dot. It becomes a directory's name and a part of etcd keys.
[[nodiscard]] bool is_node_id(std::string_view text);
/// Why a user name or a password of that parameter cannot be used, if it cannot: it is empty, longer
/// than `longest` bytes, or not printable ASCII.
[[nodiscard]] std::optional<std::string> fault_of_login(std::string_view field,
                                                        std::string_view text, std::size_t longest);

/// Reads and checks a PUT's body for the node that the path names. The failure says which field is
/// wrong and never repeats a password.
[[nodiscard]] result<node_request>
parse_node_request(std::string_view node_id, std::string_view body, const request_rules& rules);

/// What a cell stores of a node, in node.json.
struct node_record {
  node_request request;
  endpoint where;
  /// The first process of the node's latest start, if there was one.
  std::optional<base::process_identity> process;
  fencing kept_by = fencing::none;
  /// Whether that process is kept from seeing other nodes' files.
  bool isolated = false;
  /// Whether the node was stopped and should stay so until it is asked for again.
  bool halted = false;
  /// Whether the node's own API should speak TLS once it has a certificate of the fleet's
  /// authority, as the broker has asked. Never taken back.
  bool api_tls = false;
  /// Members that a later release wrote.
  model::unknown_members unknown = {};
  bool operator==(const node_record&) const = default;
};

/// The JSON text that parse_node_record() reads. It holds passwords.
[[nodiscard]] std::string text_of(const node_record& node);
[[nodiscard]] result<node_record> parse_node_record(std::string_view text,
                                                    const request_rules& rules);

} // namespace matriarch::cell
