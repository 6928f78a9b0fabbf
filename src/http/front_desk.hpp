#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "model/observation.hpp"
#include "model/orphans.hpp"
#include "model/requests.hpp"
#include "model/routes.hpp"

namespace matriarch::http {

/// The broker's state, for `/healthz`.
struct broker_health {
  bool etcd_reachable = false;
  bool active = false;
  bool loaded = false;
  bool etcd_refuses_writes = false;
  /// The time since etcd last answered: answers are that old. None if etcd never has.
  std::optional<std::chrono::seconds> etcd_age = {};
  /// Why repairs are suspended although cells seem lost; empty if they are not suspended.
  std::string repair_halted = {};
  std::string must_not_act = {}; ///< why; empty if it may
  /// The number of instances with unhealthy nodes, and the ids of some of them.
  std::size_t unwell_instances = 0;
  std::vector<std::string> some_unwell = {};
};

/// The routes' interface to the rest of the broker. Reads answer at once; functions that take an
/// `answer` call it later, once, on any thread. Everything may be called on any thread.
class front_desk {
public:
  template <class Answer>
  using receiver = std::function<void(Answer)>;

  front_desk() = default;
  front_desk(const front_desk&) = delete;
  front_desk& operator=(const front_desk&) = delete;
  virtual ~front_desk() = default;

  /// The newest snapshot of the instance of that name (see model::name_of), or nullptr.
  [[nodiscard]] virtual model::snapshot_ptr find(const std::string& name) const = 0;
  [[nodiscard]] virtual std::vector<model::snapshot_ptr> all() const = 0;
  [[nodiscard]] virtual model::cell_table cells() const = 0;
  [[nodiscard]] virtual model::router_table routers() const = 0;
  [[nodiscard]] virtual std::shared_ptr<const std::vector<model::orphan>> orphans() const = 0;
  [[nodiscard]] virtual broker_health health() const = 0;
  /// The certificates, as PEM, of the authorities that may have signed the databases' certificates;
  /// empty while they are not known.
  [[nodiscard]] virtual std::string authority() const = 0;

  /// The answer comes after `patience` at the latest.
  virtual void ask(model::request what, std::chrono::milliseconds patience,
                   receiver<model::verdict> answer) = 0;
  virtual void demote(model::demote_request what, receiver<model::demote_report> answer) = 0;
  virtual void forget(model::forget_request what, receiver<model::forget_report> answer) = 0;
  virtual void remove_orphan(model::orphan_removal what, receiver<model::verdict> answer) = 0;
  /// Has the secrets of all instances written again, sealed with the newest key.
  virtual void reencrypt_all(receiver<model::reencryption_report> answer) = 0;
};

} // namespace matriarch::http
