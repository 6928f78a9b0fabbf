#pragma once

#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "http/front_desk.hpp"
#include "http/server.hpp"

namespace matriarch::http {

/// Answers for users of the platform: their descriptions do not reveal where the platform's parts
/// are, whatever error text they repeat. All such answers pass through here; the log, the audit
/// trail and the operator's answers say more.
class tenant_answers {
public:
  /// `internal_hosts`: the hosts that no answer may name, besides the cells'.
  tenant_answers(std::vector<std::string> internal_hosts, const front_desk& desk)
      : internal_hosts_(std::move(internal_hosts)), desk_(desk) {}

  /// The body of the answer to a request, without addresses.
  [[nodiscard]] std::string reworded(const request& asked, std::string body) const;

private:
  /// Texts known to contain no address, as long as the cells stay the same. Platforms poll each of
  /// their instances, and most answers are equal.
  struct looked_through {
    model::cell_table cells;
    std::unordered_set<std::string> harmless;
  };

  [[nodiscard]] bool is_harmless(const std::string& body, const model::cell_table& now) const;
  void note_harmless(const std::string& body, const model::cell_table& now) const;

  std::vector<std::string> internal_hosts_;
  const front_desk& desk_;
  mutable std::mutex looking_;
  mutable looked_through looked_through_;
};

} // namespace matriarch::http
