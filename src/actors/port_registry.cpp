#include "actors/port_registry.hpp"

#include <spdlog/spdlog.h>

#include <charconv>

#include "actors/last_words.hpp"
#include "store/keys.hpp"
#include "store/port_json.hpp"

namespace matriarch::actors {

namespace {

namespace keys = store::keys;

struct registry_state {
  model::port_range range;
  environment outside;
  published* out = nullptr;
  std::map<int, model::port_use> known;
  std::map<std::string, model::port_use>
      later;                          ///< those of `known` that have unknown members, by key
  std::map<std::string, int> offered; ///< by the instance's name
  int next = 0;

  static std::optional<int> number_in(std::string_view text) {
    int number = 0;
    auto [end, wrong] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (wrong != std::errc{} || end != text.data() + text.size())
      return std::nullopt;
    return number;
  }

  void learn(const store::key_value& entry, bool erased) {
    if (entry.key == keys::next_port && !erased) {
      next = number_in(entry.value).value_or(range.first);
    } else if (entry.key.starts_with(keys::ports)) {
      auto port = number_in(std::string_view{entry.key}.substr(keys::ports.size()));
      if (!port)
        return;
      known.erase(*port);
      later.erase(entry.key);
      if (erased)
        return;
      auto use = store::decode_port_use(entry.value, entry.mod_revision);
      if (!use.ok()) {
        // An unreadable key counts as held: a port must never belong to two instances.
        spdlog::error("{} cannot be read and counts as held: {}", entry.key, use.error());
        known[*port] = model::port_use{"unknown", std::nullopt, entry.mod_revision};
        return;
      }
      if (!use->unknown.empty())
        later.emplace(entry.key, *use);
      known[*port] = std::move(*use);
    }
  }

  /// Publishes the unknown members, so that actors that write these keys can keep them.
  void publish_later() const {
    auto& published = out->status.later_ports;
    if (!later.empty() || !published.load()->empty())
      published.store(std::make_shared<const std::map<std::string, model::port_use>>(later));
  }

  /// Holds a taken port at once, before the watch reports it.
  void settle(const port_settled& settled) {
    auto found = offered.find(settled.name);
    if (found == offered.end())
      return;
    if (settled.taken)
      known[found->second] = model::port_use{settled.name, std::nullopt, 0};
    offered.erase(found);
  }

  port_offer offer(const std::string& name) {
    auto unusable = out->status.routers.load()->unusable_ports();
    for (const auto& [other, port] : offered)
      if (other != name)
        unusable.insert(port);
    auto port =
        model::choose_port(range, known, next == 0 ? range.first : next, outside.now(), unusable);
    if (!port)
      return {0, 0, 0,
              "no public port is free: all of " + std::to_string(range.first) + " to "
                  + std::to_string(range.last)
                  + " are held or resting, or something else on a router's machine has them; widen "
                    "routing.first and routing.last"};
    offered[name] = *port;
    auto found = known.find(*port);
    next = *port == range.last ? range.first : *port + 1;
    return {*port, found == known.end() ? 0 : found->second.revision, next, ""};
  }
};

port_registry_actor::behavior_type
behave_as_registry(port_registry_actor::stateful_pointer<registry_state> self,
                   const model::port_range& range, const environment& outside, published* out) {
  keep_last_words(self);
  self->state.range = range;
  self->state.out = out;
  self->state.outside = outside;
  return {
      [=](const port_order& order) { return self->state.offer(order.name); },
      [=](const port_settled& settled) { self->state.settle(settled); },
      [=](const key_listing& all) {
        self->state.known.clear();
        self->state.later.clear();
        for (const auto& entry : all.found)
          self->state.learn(entry, false);
        self->state.publish_later();
      },
      [=](const key_changes& changed) {
        for (const auto& c : changed.changes)
          self->state.learn(c.entry, c.what == store::change::kind::erase);
        self->state.publish_later();
      },
  };
}

} // namespace

port_registry_actor spawn_port_registry(caf::actor_system& system, model::port_range range,
                                        environment outside, published& out) {
  return system.spawn(behave_as_registry, range, std::move(outside), &out);
}

} // namespace matriarch::actors
