#pragma once

#include <chrono>
#include <cstddef>
#include <map>
#include <optional>
#include <set>
#include <string>

#include "base/result.hpp"
#include "cell/endpoints.hpp"

namespace matriarch::cell {

/// A key made for a node, and the certificate that it waits for.
struct node_key {
  std::string key;
  endpoint where; ///< of the node, which may not exist yet: the certificate names it
  std::chrono::steady_clock::time_point until; ///< when the key is forgotten
  std::string certificate = {};                ///< empty until it arrives
  std::string authorities = {};                ///< the authorities that may have signed it
  bool api_tls = false;                        ///< the node's own API should show it too
};

/// The keys that wait for their certificates, at most one for each node. Unused keys are forgotten.
class node_keys {
public:
  using clock = std::chrono::steady_clock;

  /// Makes a key in place of an earlier one, and returns the request for its certificate.
  [[nodiscard]] result<std::string> make(const std::string& node_id, const endpoint& where,
                                         clock::time_point now);
  /// The key that waits for the node, or nullptr.
  [[nodiscard]] node_key* find(const std::string& node_id);
  /// The same, and removes it from here.
  [[nodiscard]] std::optional<node_key> take(const std::string& node_id);
  void forget(const std::string& node_id) { all_.erase(node_id); }
  void forget_old(clock::time_point now);

  [[nodiscard]] std::size_t size() const { return all_.size(); }
  /// The places of the future nodes, by name_of().
  [[nodiscard]] std::set<std::string> places() const;

private:
  std::map<std::string, node_key> all_;
};

} // namespace matriarch::cell
