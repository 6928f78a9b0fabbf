#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>

#include "base/files.hpp"
#include "cell/cell_config.hpp"
#include "cell/node_engine.hpp"
#include "engines/postgresql/cell/patroni_config.hpp"
#include "store/etcd.hpp"
#include "store/lifetime.hpp"

namespace matriarch::engines::postgresql {

/// A node of PostgreSQL with its Patroni: how it is started, its state, and who may log in.
class postgresql_node final : public cell::engine_node {
public:
  postgresql_node(const cell::cell_config& config, cell::node_driver& driver,
                  base::event_loop& loop, cell::node_state& state);

  [[nodiscard]] std::optional<std::string> write_files(const discard_function& discard) override;
  [[nodiscard]] cell::program command() const override;
  void adopt() override;
  [[nodiscard]] std::optional<std::string> write_configuration() override;
  void ask(std::function<void(cell::node_answer)> then) override;
  void ask_successor(std::function<void(const std::optional<std::string>& who)> then) override;
  [[nodiscard]] certified shows() const override;
  [[nodiscard]] std::optional<std::string> refuse(const std::set<std::string>& roles) override;
  [[nodiscard]] std::optional<std::string> bound_writes(cell::disk_state is, bool grows) override;
  void end_sessions(const std::set<std::string>& roles) override;
  [[nodiscard]] result<model::data_at_stop> at_stop() const override;

private:
  [[nodiscard]] base::owner nodes_own() const;
  [[nodiscard]] std::optional<std::string>
  discard_half_a_copy(const discard_function& discard) const;
  [[nodiscard]] std::optional<std::string> write_certificate();
  [[nodiscard]] std::optional<std::string> write_etcd_files() const;
  [[nodiscard]] std::optional<std::string> copy_file(const std::string& from,
                                                     const std::string& to) const;
  [[nodiscard]] std::optional<std::string> write_programs() const;
  [[nodiscard]] std::optional<std::string> make_refused() const;
  [[nodiscard]] std::optional<std::string> make_bounds() const;
  [[nodiscard]] bool shows_certificate() const;
  void ask(std::function<void(cell::node_answer)> then, bool again);

  const cell::cell_config& config_;
  cell::node_driver& driver_;
  base::event_loop& loop_;
  cell::node_state& state_;
  node_paths paths_;
  bool asked_by_tls_ = false; ///< Patroni is asked by TLS, or was the last time
  bool speaks_tls_ = false;   ///< Patroni certainly speaks TLS and shows this certificate
  std::unique_ptr<store::etcd_client> etcd_; ///< as Patroni's etcd user; made when needed
  store::lifetime life_;
};

} // namespace matriarch::engines::postgresql
