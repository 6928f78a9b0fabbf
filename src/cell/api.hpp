#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "base/event_loop.hpp"
#include "base/json.hpp"
#include "cell/agent.hpp"
#include "cell/fence.hpp"
#include "http/server.hpp"
#include "store/lifetime.hpp"

namespace matriarch::cell {

/// Answers the HTTP requests of brokers and people. This class decides what is refused, and with
/// which answer; the agent carries out the rest. Everything but the service's own functions happens
/// on the event loop's thread.
class api {
public:
  api(agent& cell, base::event_loop& loop);

  /// What the HTTP server calls; from any thread, even after this object is gone.
  [[nodiscard]] http::service service();

private:
  using reply = std::shared_ptr<http::responder>;
  using node_ptr = agent::node_ptr;

  void serve(const http::request& asked, const reply& to);
  void provision(const std::string& node_id, const http::request& asked, const reply& to);
  void provision_again(const node_ptr& known, const node_request& wanted,
                       const fencing_claim& claim, const reply& to);
  void deprovision(const std::string& node_id, const http::request& asked, const reply& to);
  [[nodiscard]] node_ptr node_claimed(const std::string& node_id, fencing_claim& claim,
                                      const reply& to) const;
  void halt(const std::string& node_id, const http::request& asked, const reply& to);
  void end_sessions(const std::string& node_id, const http::request& asked, const reply& to);
  void make_key(const std::string& node_id, const http::request& asked, const reply& to);
  void take_certificate(const std::string& node_id, const http::request& asked, const reply& to);
  void judge_settings(const http::request& asked, const reply& to);

  [[nodiscard]] http::response health() const;
  [[nodiscard]] http::response listing() const;
  /// The answer to a PUT: the broker connects only to the address in it.
  [[nodiscard]] static http::response whereabouts(int status, const node& of);
  [[nodiscard]] http::response full() const;
  [[nodiscard]] http::response no_address_left() const;
  /// The refusal of a request about a node's certificate, if it is refused.
  [[nodiscard]] std::optional<http::response> refuse_certificate(const std::string& node_id,
                                                                 const http::request& asked) const;

  agent& cell_;
  base::event_loop& loop_;
  std::string expected_authorization_;
  store::lifetime life_;
};

} // namespace matriarch::cell
