#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/background.hpp"
#include "base/event_loop.hpp"

namespace matriarch::router {

/// Whether a host is a name and not an address.
[[nodiscard]] bool is_name(const std::string& host);

/// All addresses that connections of this machine may come from.
[[nodiscard]] std::vector<std::string> addresses_of_machine();

/// The addresses of hosts, for HAProxy accepts no names while it runs. A lookup may take seconds,
/// and runs on a thread of its own. Belongs to the event loop's thread.
class host_addresses {
public:
  /// `changed` is called with a name that was asked for, when the name gets an address or a
  /// different one.
  host_addresses(base::event_loop& loop, std::function<void(const std::string&)> changed)
      : loop_(loop), changed_(std::move(changed)) {}

  /// The host itself if it is an address, else the address last found for the name; nothing while
  /// there is none. Names that are asked for are looked up again from time to time.
  [[nodiscard]] std::optional<std::string> of(const std::string& host);

  /// Waits for the lookup under way. Nothing may be asked afterwards. From any thread.
  void stop() { looker_.reset(); }

private:
  struct entry {
    std::optional<std::string> address;
    std::chrono::steady_clock::time_point looked_up;
    bool is_being_looked_up = false;
  };
  void look_up(const std::string& host, entry& known);

  base::event_loop& loop_;
  std::function<void(const std::string&)> changed_;
  std::map<std::string, entry> known_;
  std::unique_ptr<base::background> looker_ = std::make_unique<base::background>();
};

} // namespace matriarch::router
