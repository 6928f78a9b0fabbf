#include "router/haproxy_keeper.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <string>
#include <utility>

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include "router/old_sessions.hpp"

namespace matriarch::router {

namespace {

/// An answer takes less than a millisecond, and hundreds of milliseconds while HAProxy reloads on a
/// busy machine.
constexpr std::chrono::milliseconds answer_patience{2'000};
/// A HAProxy that takes this long for the simplest answer takes no connections either.
constexpr std::chrono::milliseconds sign_of_life{1'000};
/// The pause before a port is tried again that HAProxy could not open although it seemed free: each
/// attempt pauses all other ports for two seconds.
constexpr std::chrono::minutes failed_bind_pause{1};
/// How often ports are left out and the others tried before a start is given up. HAProxy names all
/// such ports at once, so if more than a few rounds are needed something else is wrong.
constexpr int rounds = 10;

/// A server that was up stays up over a reload, if it still is a server of the port.
void carry_over(proxy_state& to, const proxy_state& from) {
  for (auto& [port, known] : to) {
    auto before = from.find(port);
    if (before == from.end())
      continue;
    for (auto& slot : known.slots)
      for (const auto& old : before->second.slots)
        if (slot.holds && old.holds && slot.holds->database == old.holds->database && old.up
            && !old.drained && !slot.drained)
          slot.up = true;
  }
}

bool is_of_this_form(std::string_view description) {
  return description.starts_with("ports-");
}

using ports_by_name = std::map<std::string, std::uint16_t, std::less<>>;

/// The names that earlier releases gave the proxies of these ports: the instance's name, with the
/// `~` of a hashed name replaced by `:`.
ports_by_name earlier_names(const port_table& table) {
  ports_by_name names;
  for (const auto& [port, one] : table) {
    auto name = one->instance;
    if (name.starts_with('~'))
      name.front() = ':';
    if (one->to_leader)
      names[name] = names[name + ":read-only-leader"] = port;
    else
      names[name + ":read-only"] = port;
  }
  return names;
}

} // namespace

haproxy_keeper::haproxy_keeper(const router_config& settings)
    : settings_(settings), haproxy_(settings.haproxy, settings.data_dir) {}

bool haproxy_keeper::adopt() {
  if (!haproxy_.adopt())
    return false;
  description_ = haproxy_.description();
  // A HAProxy that an earlier release started has ports with other names, which a reload takes
  // over.
  if (!is_of_this_form(description_))
    held_ = haproxy_.ports_in_file();
  return true;
}

/// Asks HAProxy for its state; false if it does not answer.
bool haproxy_keeper::learn() {
  auto told = haproxy_.tell();
  if (!told) {
    // The last known state does not hold after a reload.
    is_known_ = false;
    return false;
  }
  state_ = state_of(*told);
  is_known_ = true;
  unsettled_.clear();
  holding_.clear();
  lacking_.clear();
  look_at_all();
  for (auto port : due_)
    note_kinds(port);
  return true;
}

/// Makes the next round look at all ports.
void haproxy_keeper::look_at_all() {
  for (int port = settings_.first_port; port <= settings_.last_port; ++port)
    due_.insert(static_cast<std::uint16_t>(port));
  for (const auto& [port, known] : state_)
    due_.insert(port);
  for (const auto& [port, one] : wanted_)
    due_.insert(port);
}

bool haproxy_keeper::is_free(std::uint16_t port) {
  std::erase_if(not_bound_,
                [](const auto& entry) { return clock::now() - entry.second > failed_bind_pause; });
  if (held_.contains(port)) {
    reasons_.erase(port);
    return true;
  }
  auto why = not_bound_.contains(port) ? std::optional{std::string{port_taken}}
                                       : why_not_bound(settings_.bind_host, port);
  if (why)
    reasons_[port] = *why;
  else
    reasons_.erase(port);
  return !why;
}

haproxy_shape haproxy_keeper::needed_shape() {
  return shape_for(settings_, wanted_, is_known_ ? shape_of(state_) : haproxy_shape{},
                   [&](std::uint16_t port) { return is_free(port); });
}

haproxy_files haproxy_keeper::files_of(const proxy_state& state, std::string text) const {
  haproxy_files files{std::move(text), server_state_file(state, settings_.data_dir), {}};
  for (auto which : all_maps)
    files.maps.push_back(map_text(which, state));
  return files;
}

keeper_outcome haproxy_keeper::bring_about(const port_table& changes, const pem_texts& pem) {
  keeper_outcome outcome;
  take_up(wanted_, changes);
  for (const auto& [port, one] : changes)
    due_.insert(port);
  for (auto port : lacking_)
    if (wanted_.contains(port) && is_free(port))
      due_.insert(port);
  if (!haproxy_.running()) {
    held_.clear();
    is_known_ = false;
    description_.clear();
  } else if (!is_known_ && is_of_this_form(description_) && !learn()) {
    outcome.error = "HAProxy does not report its state";
    return outcome;
  }
  // HAProxy seldom has to be restarted or reloaded: most changes are applied in a moment.
  if (pem != pem_ || !fits()) {
    if (auto described = describe(needed_shape(), pem); description_ != described)
      restart(pem, outcome);
    if (outcome.error.empty())
      pem_ = pem;
  }
  if (outcome.error.empty())
    tell(outcome);
  note_unbound(outcome);
  outcome.is_settled = unsettled_.empty();
  return outcome;
}

/// Whether HAProxy has every port that is wanted and due, with room for its servers.
bool haproxy_keeper::fits() const {
  return is_known_ && std::all_of(due_.begin(), due_.end(), [&](std::uint16_t port) {
           auto wanted = wanted_.find(port);
           if (wanted == wanted_.end())
             return true;
           auto known = state_.find(port);
           if (known == state_.end() || !known->second.bound)
             return false;
           if (known->second.done == wanted->second)
             return true;
           return servers_of(*wanted->second) <= std::ssize(known->second.slots);
         });
}

/// The description of a HAProxy with that shape. Computing it takes long with thousands of ports,
/// and nearly every call asks for the same one as before.
const std::string& haproxy_keeper::describe(const haproxy_shape& shape, const pem_texts& pem) {
  if (described_.empty() || shape != described_shape_ || pem != described_pem_) {
    described_ = description_of(settings_, shape, pem);
    described_shape_ = shape;
    described_pem_ = pem;
  }
  return described_;
}

/// Starts or reloads HAProxy in the shape that is wanted.
void haproxy_keeper::restart(const pem_texts& pem, keeper_outcome& outcome) {
  const auto was_running = haproxy_.running();
  // Checks have changed the servers' states since HAProxy was last asked.
  if (was_running && is_known_ && !learn()) {
    outcome.error = "HAProxy does not report its state";
    return;
  }
  for (int round = 0; round < rounds; ++round) {
    auto shape = needed_shape();
    auto description = describe(shape, pem);
    if (was_running && description == description_) {
      outcome.error.clear();
      return;
    }
    auto next = empty_state(shape);
    (void)router::bring_about(wanted_, next, settings_.data_dir);
    if (is_known_)
      carry_over(next, state_);
    if (auto wrong = haproxy_.write(files_of(next, haproxy_text(settings_, next, pem)))) {
      outcome.error = *wrong;
      return;
    }
    auto printed = was_running ? haproxy_.reload(description) : haproxy_.start(description);
    if (!printed) {
      (was_running ? outcome.reloaded : outcome.started) = true;
      description_ = description;
      held_.clear();
      outcome.error = learn() ? "" : "HAProxy does not report its state";
      return;
    }
    outcome.error = fmt::format("HAProxy did not {}: {}", was_running ? "reload" : "start",
                                alerts_in(*printed));
    auto taken = ports_not_bound(*printed);
    for (auto port : taken)
      not_bound_[port] = clock::now();
    if (taken.empty() || haproxy_.running() != was_running) {
      is_known_ = false; // a slow HAProxy may still reload
      return;
    }
  }
}

/// Sends the commands for the ports that are due.
void haproxy_keeper::tell(keeper_outcome& outcome) {
  // HAProxy may have refused commands because its state was not the one assumed: try once more.
  for (auto attempt : {1, 2}) {
    auto changes = router::bring_about(wanted_, due_, state_, settings_.data_dir);
    if (!changes.lines.empty())
      is_saved_ = false;
    for (auto port : due_) {
      refused_.erase(port);
      note_kinds(port);
    }
    for (auto port : changes.crowded)
      refused_.emplace(port, "HAProxy has no room for one of its nodes");
    auto sent = haproxy_.worker().send(changes.lines, answer_patience);
    if (!sent.error.empty()) {
      // It is unknown how many of the commands HAProxy has carried out.
      is_known_ = false;
      outcome.error = sent.error;
      return;
    }
    if (sent.refused.empty()) {
      due_.clear();
      return;
    }
    spdlog::warn("HAProxy refuses commands for {} ports: {}", sent.refused.size(), sent.reason);
    if (attempt == 2)
      for (const auto& line : sent.refused)
        refused_.insert_or_assign(line.port, "HAProxy says: " + sent.reason);
    // Whether or not the commands are sent again, refused ones must not be taken for done.
    if (!learn()) {
      outcome.error = "HAProxy does not report its state";
      return;
    }
  }
}

/// Notes whether the port has to be looked at from time to time.
void haproxy_keeper::note_kinds(std::uint16_t port) {
  auto note = [&](std::set<std::uint16_t>& ports, bool is) {
    if (is)
      ports.insert(port);
    else
      ports.erase(port);
  };
  auto known = state_.find(port);
  auto is_known = known != state_.end();
  note(unsettled_, is_known && is_unsettled(known->second));
  note(holding_, is_known && is_holding(known->second));
  auto is_needed =
      wanted_.contains(port) || (port >= settings_.first_port && port <= settings_.last_port);
  note(lacking_, is_needed && !(is_known && known->second.bound));
}

void haproxy_keeper::note_unbound(keeper_outcome& outcome) {
  outcome.is_known = is_known_;
  if (!is_known_)
    return;
  for (auto port : lacking_)
    // A port that has become free is opened as soon as it is wanted.
    if (!is_free(port) || wanted_.contains(port))
      outcome.unbound.emplace(port, reasons_.contains(port) ? reasons_[port]
                                                            : std::string{"it is being opened"});
  for (const auto& [port, why] : refused_)
    if (wanted_.contains(port) && !outcome.unbound.contains(port))
      outcome.refused.emplace(port, why);
}

keeper_outcome haproxy_keeper::settle() {
  keeper_outcome outcome;
  if (!is_known_)
    return outcome;
  // Only these of thousands of ports are asked about.
  const auto ports = unsettled_;
  std::string told;
  for (auto port : ports) {
    auto answer = haproxy_.worker().ask("show servers state " + proxy_of(port), answer_patience);
    if (!answer) {
      outcome.error = answer.error();
      return outcome;
    }
    told += *answer;
  }
  auto lines = router::settle(state_, told);
  for (auto port : ports)
    note_kinds(port);
  if (!lines.empty()) {
    is_saved_ = false;
    auto sent = haproxy_.worker().send(lines, answer_patience);
    if (!sent.error.empty() || !sent.refused.empty())
      is_known_ = false;
    outcome.error = sent.error;
  }
  outcome.is_settled = unsettled_.empty();
  return outcome;
}

std::optional<std::string> haproxy_keeper::why_silent() {
  if (!haproxy_.running())
    return std::nullopt;
  auto sent = haproxy_.worker().send({}, sign_of_life);
  return sent.error.empty() ? std::nullopt : std::optional{sent.error};
}

void haproxy_keeper::note_held() {
  if (!is_known_)
    return;
  std::string told;
  for (auto port : holding_) {
    // Type 4 selects the servers.
    auto answer =
        haproxy_.worker().ask(fmt::format("show stat {} 4 -1", proxy_of(port)), answer_patience);
    if (!answer)
      return;
    told += *answer;
  }
  auto lines = router::note_held(state_, holding_, told, settings_.data_dir);
  if (lines.empty())
    return;
  is_saved_ = false;
  auto sent = haproxy_.worker().send(lines, answer_patience);
  if (!sent.error.empty() || !sent.refused.empty())
    is_known_ = false;
}

std::optional<std::string> haproxy_keeper::save() {
  if (!is_known_ || is_saved_)
    return std::nullopt;
  auto wrong = haproxy_.write(files_of(state_, {}));
  is_saved_ = !wrong;
  return wrong;
}

std::optional<haproxy_keeper::old_workers> haproxy_keeper::look_at_old_workers(bool all_known) {
  auto found = haproxy_.processes();
  if (found.master == 0)
    return std::nullopt;
  old_workers seen{static_cast<int>(found.old.size()), 0};
  if (found.old.empty() || !is_known_)
    return seen;
  auto told = haproxy_.tell();
  if (!told)
    return std::nullopt;
  auto now = state_of(*told);
  std::optional<ports_by_name> earlier; // only workers of earlier releases have such names
  auto port_of = [&](std::string_view proxy) -> std::optional<std::uint16_t> {
    if (auto port = port_of_proxy(proxy))
      return port;
    if (!earlier)
      earlier = earlier_names(wanted_);
    if (auto found = earlier->find(proxy); found != earlier->end())
      return found->second;
    // The brokers' requests have time-outs of their own.
    if (!all_known || proxy.starts_with(":broker") || proxy.starts_with(":active-broker"))
      return 0;
    return std::nullopt;
  };
  for (auto worker : found.old) {
    auto sessions = haproxy_.ask_worker(worker, "show sess");
    auto servers = haproxy_.ask_worker(worker, "show servers state");
    if (!sessions || !servers)
      continue; // it has just ended
    for (const auto& id : sessions_to_end(*sessions, *servers, now, port_of)) {
      (void)haproxy_.ask_worker(worker, "shutdown session " + id);
      ++seen.ended;
    }
  }
  return seen;
}

} // namespace matriarch::router
