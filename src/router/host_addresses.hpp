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

/// Whether a host is no address, but a name.
[[nodiscard]] bool is_name(const std::string& host);

/// All addresses that connections of this machine may come from.
[[nodiscard]] std::vector<std::string> addresses_of_machine();

/// The addresses of hosts, for HAProxy takes no names while it runs. Looking one up may take seconds,
/// and is done by a thread of its own. Belongs to the event loop's thread.
class host_addresses {
public:
  /// `changed` is called with a name that was asked for when it has got an address, or another one.
  host_addresses(base::event_loop& loop, std::function<void(const std::string&)> changed)
      : loop_(loop), changed_(std::move(changed)) {}

  /// An address itself, or that of a name as it was last found; nothing while there is none. What is
  /// asked for is looked up again every now and then.
  [[nodiscard]] std::optional<std::string> of(const std::string& host);

  /// Waits for the lookup under way; nothing may be asked any more. From any thread.
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
