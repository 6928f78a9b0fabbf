#include "cell/node_keys.hpp"

#include <utility>

#include "tls/certificate.hpp"

namespace matriarch::cell {

namespace {

// How long a key waits. The broker signs at once.
constexpr std::chrono::seconds key_waits{60};

} // namespace

result<std::string> node_keys::make(const std::string& node_id, const endpoint& where,
                                    clock::time_point now) {
  auto key = tls::make_key();
  auto request = key ? tls::make_request(*key) : key;
  if (request)
    all_[node_id] = {*std::move(key), where, now + key_waits};
  return request;
}

node_key* node_keys::find(const std::string& node_id) {
  auto found = all_.find(node_id);
  return found == all_.end() ? nullptr : &found->second;
}

std::optional<node_key> node_keys::take(const std::string& node_id) {
  auto taken = all_.extract(node_id);
  return taken ? std::optional{std::move(taken.mapped())} : std::nullopt;
}

void node_keys::forget_old(clock::time_point now) {
  std::erase_if(all_, [&](const auto& one) { return one.second.until <= now; });
}

std::set<std::string> node_keys::places() const {
  std::set<std::string> all;
  for (const auto& [id, one] : all_)
    all.insert(name_of(one.where));
  return all;
}

} // namespace matriarch::cell
