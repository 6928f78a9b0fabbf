#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "router/haproxy_config.hpp"
#include "router/haproxy_socket.hpp"

namespace matriarch::router {

/// What HAProxy reads when it starts.
struct haproxy_files {
  std::string text; ///< empty: what is there stays
  std::string server_state;
  std::vector<std::string> maps; ///< in the order of all_maps
};

/// HAProxy's master process: starting, adopting, reloading and stopping it. Its files are in the
/// router's data directory. The calls block for up to some seconds, so they belong on a thread of
/// their own; all but running() on one at a time.
///
/// HAProxy belongs to a session of its own and outlives a router that is killed. The next router
/// finds it by its pid and start time, which are in a file. Workers end with their master, unless
/// they hang: start() kills such, for their listeners would get a share of the connections.
class haproxy {
public:
  haproxy(std::string executable, std::string data_dir);
  ~haproxy();
  haproxy(const haproxy&) = delete;
  haproxy& operator=(const haproxy&) = delete;

  /// Takes over a master that an earlier router left running. True if there was one. A master that
  /// does not answer is ended.
  bool adopt();

  /// Whether the master runs. Does not block; from any thread.
  [[nodiscard]] bool running();

  /// Replaces the files. Returns why it could not, if so.
  [[nodiscard]] std::optional<std::string> write(const haproxy_files& files) const;

  /// The state of the ports that the files hold, of those that have servers; empty if there are none.
  [[nodiscard]] proxy_state written() const;

  /// When that was written; nothing if it was not.
  [[nodiscard]] std::optional<std::chrono::sys_time<std::chrono::milliseconds>> written_at() const;

  /// The ports of the `bind` lines in HAProxy's file.
  [[nodiscard]] std::set<std::uint16_t> ports_in_file() const;

  /// Has HAProxy read its files, by a start or a reload, and waits until its description is
  /// `wanted`. Both return what HAProxy printed if it did not get there.
  [[nodiscard]] std::optional<std::string> start(const std::string& wanted);
  [[nodiscard]] std::optional<std::string> reload(const std::string& wanted);

  /// The current worker's description; empty if the worker does not answer.
  [[nodiscard]] std::string description() const;
  /// The state of the ports as HAProxy reports it.
  [[nodiscard]] result<told_state> tell() const;
  /// The socket of the worker, for commands.
  [[nodiscard]] haproxy_socket worker() const;

  /// The processes; master is 0 if it does not answer.
  [[nodiscard]] haproxy_processes processes() const;
  /// A command to the worker of that pid, which may be one from before a reload.
  [[nodiscard]] result<std::string> ask_worker(int pid, std::string_view command) const;

  /// Accepts no new sessions, lets existing sessions go on for up to `grace`, and ends HAProxy.
  void stop(std::chrono::milliseconds grace);

private:
  [[nodiscard]] std::string printed_since(std::size_t offset) const;
  void hold(pid_t master);
  void let_go();
  void signal(int number);
  void kill_leftovers() const;
  [[nodiscard]] std::string path(std::string_view name) const;

  std::string executable_;
  std::string data_dir_;
  std::mutex mutex_; ///< for the two below
  pid_t master_ = 0;
  int master_handle_ = -1; ///< a pidfd: it always means this process, while a pid can be used again
};

/// The reason given for a port that another program uses.
inline constexpr std::string_view port_taken =
    "something else uses its port on this machine; end that, or give the instance another port";

/// Why HAProxy could not listen there, if it could not. A listener of this or another HAProxy
/// counts as another program's, although the kernel would let both have the port and share its
/// connections.
[[nodiscard]] std::optional<std::string> why_not_bound(const std::string& host, std::uint16_t port);

/// Replaces a file as a whole, so that no reader ever sees half of it. Only its owner can read it.
/// Returns why it could not, if so.
[[nodiscard]] std::optional<std::string> write_private_file(const std::string& path,
                                                            std::string_view text);

} // namespace matriarch::router
