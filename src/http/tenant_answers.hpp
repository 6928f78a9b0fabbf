#pragma once

#include <mutex>
#include <string>
#include <unordered_set>
#include <vector>

#include "http/front_desk.hpp"
#include "http/server.hpp"

namespace matriarch::http {

/// Answers that users of the platform read: their descriptions say nothing of where the platform's
/// parts are, whoever's words they repeat. This is the one place that all such answers pass; the
/// log, the audit trail and the operator's answers say more.
class tenant_answers {
public:
  /// `internal_hosts`: those that no answer names, besides the cells'.
  tenant_answers(std::vector<std::string> internal_hosts, const front_desk& desk)
      : internal_hosts_(std::move(internal_hosts)), desk_(desk) {}

  /// The body of the answer to a request, as its sender may read it.
  [[nodiscard]] std::string reworded(const request& asked, std::string body) const;

private:
  /// Answers that say nothing of addresses, as long as the cells are these. Platforms poll each of
  /// their instances, and most say the same.
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
