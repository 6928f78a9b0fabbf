#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace matriarch::http {

/// The connections of strangers, and which of them has to make room for another. It is one of the
/// host that has the most, so that a flooding machine drives out only its own; of these the oldest,
/// for an honest client sends a request soon, and no client can make its connection look younger.
template <class Connection>
class waiting_room {
public:
  /// `remote` is the peer's `host:port`; `number` the place in the order in which connections came.
  void add(std::string_view remote, std::uint64_t number, Connection who) {
    of_[std::string{host_in(remote)}][number] = std::move(who);
  }

  /// Does nothing if the connection is not there.
  void remove(std::string_view remote, std::uint64_t number) {
    auto found = of_.find(host_in(remote));
    if (found == of_.end())
      return;
    found->second.erase(number);
    if (found->second.empty())
      of_.erase(found);
  }

  [[nodiscard]] std::optional<Connection> next_to_go() const {
    auto most =
        std::ranges::max_element(of_, {}, [](const auto& one) { return one.second.size(); });
    return most == of_.end() ? std::nullopt : std::optional{most->second.begin()->second};
  }

private:
  static std::string_view host_in(std::string_view remote) {
    return remote.substr(0, remote.rfind(':'));
  }

  std::map<std::string, std::map<std::uint64_t, Connection>, std::less<>> of_;
};

} // namespace matriarch::http
