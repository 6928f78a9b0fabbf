#pragma once

#include <memory>

#include "http/server.hpp"

namespace matriarch::http {

/// The threads that serve the connections to one listening socket. Each has its own connections: it
/// accepts them, splits their input into requests, and writes the answers.
class workers {
public:
  /// Begins to serve, and owns the socket from then on. Throws std::exception if there are no
  /// threads or descriptors left; the socket then still belongs to the caller.
  workers(server_options options, service parts, int listener);
  ~workers();
  workers(const workers&) = delete;
  workers& operator=(const workers&) = delete;

  /// Stops accepting, lets pending answers be sent for server_options::drain_patience, and ends the
  /// threads. A second call does nothing.
  void stop();
  [[nodiscard]] server_load load() const;

private:
  struct implementation;
  std::unique_ptr<implementation> self_;
};

} // namespace matriarch::http
