#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/result.hpp"
#include "router/haproxy_config.hpp"

namespace matriarch::router {

/// What came of bringing HAProxy to a configuration.
struct apply_outcome {
  /// Empty if HAProxy runs `applied`; else why it does not, while it goes on as before.
  std::string error;
  haproxy_config applied;
  /// Listens that were left out so that the others can be served.
  std::vector<left_out> unserved;
  /// Whether HAProxy was reloaded or started for this, or ran it already.
  bool reloaded = false;
  bool started = false;
};

/// A listen or backend, and those of its servers that are not what it leads to any more.
struct misplaced_servers {
  std::string proxy;
  std::vector<std::string> servers;
};

/// HAProxy's master process: starting, adopting, reloading and stopping it. Its files are in the
/// router's data directory. The calls block for up to some seconds, so they belong on a thread of
/// their own; apply() and stop() on one at a time, the others may be called beside them.
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

  /// Takes over a master that an earlier router has left behind. True if there was one. One that
  /// does not answer is ended.
  bool adopt();

  /// Whether the master runs. Does not block.
  [[nodiscard]] bool running();

  /// What HAProxy was last told to run, from the file; nothing if there is no such file.
  [[nodiscard]] std::optional<haproxy_config> last_configuration() const;
  /// When that was.
  [[nodiscard]] std::optional<std::chrono::sys_time<std::chrono::milliseconds>>
  last_configured() const;

  /// Makes HAProxy run a configuration, or as much of it as it can: what HAProxy refuses, and ports
  /// that are taken, are left out. Does nothing if it runs exactly that already. `leaders` tells
  /// the leading server by listen or backend, asked for at the last moment.
  [[nodiscard]] apply_outcome
  apply(const haproxy_config& wanted,
        const std::function<std::map<std::string, std::string>()>& leaders);

  /// Takes these servers to be down until their next check, and ends their sessions in all workers:
  /// those of before a reload do not check, so their sessions would stay.
  void end_sessions(const std::vector<misplaced_servers>& of);

  /// What end_lost_sessions() has found.
  struct old_workers {
    int count = 0;         ///< workers of before a reload that still have sessions
    std::size_t ended = 0; ///< sessions that it has ended
  };

  /// Ends the sessions of old workers whose server is down or gone, as the current worker's checks
  /// say: old workers do not check. To be called every now and then, for a frozen server ends no
  /// connection itself and may be down long before another one leads. Nothing if the master does
  /// not answer.
  [[nodiscard]] std::optional<old_workers> end_lost_sessions();

  /// Lets the sessions that there are go on for up to `grace`, takes no new ones, and ends HAProxy.
  void stop(std::chrono::milliseconds grace);

private:
  class command_list;
  struct run_result {
    bool succeeded = false;
    std::string printed;
  };

  [[nodiscard]] result<std::string> ask(std::string_view command,
                                        std::chrono::milliseconds patience) const;
  [[nodiscard]] haproxy_processes processes(std::chrono::milliseconds patience) const;
  [[nodiscard]] bool runs(const haproxy_config& config) const;
  [[nodiscard]] std::size_t
  end_old_sessions(const std::vector<int>& workers,
                   const std::function<bool(const server_key&)>& is_meant) const;
  [[nodiscard]] run_result check(const haproxy_config& config) const;
  void leave_out_taken_ports(apply_outcome& outcome);
  void leave_out_refused(apply_outcome& outcome) const;
  /// Both return what HAProxy printed if it did not come to run the configuration.
  [[nodiscard]] std::optional<std::string> start(const haproxy_config& config);
  [[nodiscard]] std::optional<std::string> reload(const haproxy_config& config);
  [[nodiscard]] std::string printed_since(std::size_t offset) const;
  void hold(pid_t master);
  void let_go();
  void signal(int number);
  void kill_leftovers() const;
  [[nodiscard]] std::string path(std::string_view name) const;

  std::string executable_;
  std::string data_dir_;
  /// What runs, as far as this program knows.
  std::optional<haproxy_config> running_;
  /// The ports that HAProxy could not open, and when it tried.
  std::map<std::uint16_t, std::chrono::steady_clock::time_point> not_bound_;
  std::mutex mutex_; ///< for the two below
  pid_t master_ = 0;
  int master_handle_ = -1; ///< a pidfd: it means this process for ever, where a pid is used again
};

/// Replaces a file as a whole, so that no reader ever sees half of it; its owner alone can read it.
/// False, and errno, if it could not.
[[nodiscard]] bool write_private_file(const std::string& path, const std::string& text);

/// Holds the data directory for as long as it lives, so that no two routers act on it.
class directory_lock {
public:
  /// Makes the directory if need be.
  static result<directory_lock> take(const std::string& directory);
  directory_lock(directory_lock&& other) noexcept : file_(std::exchange(other.file_, -1)) {}
  directory_lock& operator=(directory_lock&&) = delete;
  ~directory_lock();

private:
  explicit directory_lock(int file) : file_(file) {}
  int file_;
};

} // namespace matriarch::router
