#pragma once

#include <memory>

#include "http/server.hpp"

namespace matriarch::http {

/// The threads that serve what connects to one listening socket. Each has its own connections:
/// accepts them, cuts what arrives into requests, and writes the answers.
class workers {
public:
  /// Begins to serve, and has the socket from then on. Throws std::exception, and the socket is the
  /// caller's still, if there are no threads or descriptors left.
  workers(server_options options, service parts, int listener);
  ~workers();
  workers(const workers&) = delete;
  workers& operator=(const workers&) = delete;

  /// Accepts no more, lets answers under way be sent for server_options::drain_patience, and ends
  /// the threads. A second call does nothing.
  void stop();
  [[nodiscard]] server_load load() const;

private:
  struct implementation;
  std::unique_ptr<implementation> self_;
};

} // namespace matriarch::http
