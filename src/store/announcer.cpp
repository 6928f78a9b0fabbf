#include "store/announcer.hpp"

#include <algorithm>
#include <utility>

#include <spdlog/spdlog.h>

namespace matriarch::store {

namespace {

// A third of the lease: two renewals may be lost.
constexpr std::chrono::milliseconds beat_pause{3'000};
// Pause before a failed request is repeated.
constexpr std::chrono::milliseconds retry_pause{1'000};
// etcd refuses transactions of more than 128 operations.
constexpr std::size_t most_operations = 100;

} // namespace

announcer::announcer(etcd_client& etcd, std::string whose)
    : etcd_(etcd), whose_(std::move(whose)) {}

void announcer::only_with(owned_key what, std::function<void(std::string)> taken) {
  owned_ = std::move(what);
  taken_ = std::move(taken);
}

void announcer::start() {
  started_ = true;
  step();
  beat();
}

void announcer::put(const std::string& key, std::string value) {
  wanted_[key] = std::move(value);
  written_.erase(key);
  auto overtaken = unwanted_.extract(key);
  step();
  if (overtaken)
    for (const auto& call : overtaken.mapped())
      call();
}

void announcer::remove(const std::string& key, std::function<void()> gone) {
  wanted_.erase(key);
  written_.erase(key);
  unwanted_[key].push_back(std::move(gone));
  step();
}

/// Does the next thing that is left to do, unless a request is in progress.
void announcer::step() {
  if (!started_ || busy_)
    return;
  if (lease_ == 0)
    grant();
  else if (owned_ && !owned_at_)
    look();
  else if (written_.size() < wanted_.size())
    commit();
  else if (!doubtful_.empty())
    revoke();
  else if (!unwanted_.empty())
    commit();
}

void announcer::again() {
  etcd_.loop().after(retry_pause, life_.guard([this] {
    busy_ = false;
    step();
  }));
}

void announcer::grant() {
  busy_ = true;
  etcd_.grant_lease(lease_length, life_.guard([this](const lease_result& answer) {
    heard(answer.is == lease_result::state::held, answer.error);
    if (answer.is != lease_result::state::held)
      return again();
    lease_ = answer.id;
    busy_ = false;
    step();
  }));
}

void announcer::look() {
  busy_ = true;
  etcd_.range({owned_->key, ""}, life_.guard([this](const range_result& answer) {
    heard(answer.ok, answer.error);
    if (!answer.ok)
      return again();
    if (!answer.found.empty())
      if (auto other = owned_->other_owner(answer.found.front().value)) {
        // The other owner may be this server under its former name, whose lease still lives.
        auto now = std::chrono::steady_clock::now();
        if (now - others_since_.value_or(now) > longest_end)
          taken_(*other);
        others_since_ = others_since_.value_or(now);
        return again();
      }
    others_since_.reset();
    owned_at_ = answer.found.empty() ? 0 : answer.found.front().mod_revision;
    busy_ = false;
    step();
  }));
}

void announcer::commit() {
  busy_ = true;
  transaction all;
  if (owned_)
    all.compares.push_back(unchanged_since(owned_->key, *owned_at_));
  std::map<std::string, std::string> put;
  std::vector<std::string> erased;
  // The owned key is written first, alone: the other keys depend on it.
  bool owns = !owned_ || !wanted_.contains(owned_->key) || written_.contains(owned_->key);
  for (const auto& [key, value] : wanted_)
    if (!written_.contains(key) && put.size() < most_operations && (owns || key == owned_->key)) {
      all.then.emplace_back(store::put{key, value, lease_});
      put.emplace(key, value);
    }
  if (put.empty())
    for (const auto& [key, waiting] : unwanted_)
      if (erased.size() < most_operations) {
        all.then.emplace_back(erase{{key, {}}});
        erased.push_back(key);
      }
  etcd_.commit(std::move(all), life_.guard([this, put, erased](const commit_result& answer) {
    heard(answer.state == commit_state::committed, answer.error);
    switch (answer.state) {
    case commit_state::committed:
      busy_ = false;
      if (owned_ && put.contains(owned_->key))
        owned_at_ = answer.at;
      else if (owned_ && std::ranges::find(erased, owned_->key) != erased.end())
        owned_at_ = 0;
      committed(put, erased);
      return step();
    case commit_state::unknown:
      doubtful_.push_back(lease_);
      lose_lease();
      return again();
    case commit_state::refused:
      owned_at_.reset();
      return again();
    case commit_state::not_done:
      // The lease may have ended: the next renewal will show.
      return again();
    }
  }));
}

void announcer::committed(const std::map<std::string, std::string>& put,
                          const std::vector<std::string>& erased) {
  for (const auto& [key, value] : put)
    if (auto wanted = wanted_.find(key); wanted != wanted_.end() && wanted->second == value)
      written_.insert(key);
  std::vector<std::function<void()>> confirmed;
  for (const auto& key : erased)
    if (auto waiting = unwanted_.extract(key))
      for (auto& call : waiting.mapped())
        confirmed.push_back(std::move(call));
  for (const auto& call : confirmed)
    call();
}

void announcer::revoke() {
  busy_ = true;
  etcd_.revoke_lease(doubtful_.back(), life_.guard([this](const lease_result& answer) {
    heard(answer.is != lease_result::state::unreachable, answer.error);
    if (answer.is == lease_result::state::unreachable)
      return again();
    doubtful_.pop_back();
    // A late write may have put a key under the lease that has just been revoked.
    written_.clear();
    owned_at_.reset();
    busy_ = false;
    step();
  }));
}

void announcer::beat() {
  etcd_.loop().after(beat_pause, life_.guard([this] { beat(); }));
  if (lease_ == 0)
    return;
  etcd_.keep_alive(lease_, life_.guard([this, of = lease_](const lease_result& answer) {
    heard(answer.is != lease_result::state::unreachable, answer.error);
    if (answer.is != lease_result::state::gone || of != lease_)
      return;
    spdlog::warn("{}'s lease in etcd has ended; taking a new one", whose_);
    lose_lease();
    step();
  }));
}

void announcer::lose_lease() {
  lease_ = 0;
  owned_at_.reset();
  written_.clear();
}

void announcer::heard(bool answered, const std::string& error) {
  reachable_ = answered;
  if (!answered && !complained_)
    spdlog::warn(
        "{}'s keys cannot be written to etcd; it goes on without them and keeps trying: {}", whose_,
        error);
  if (answered && complained_)
    spdlog::info("{}'s keys can be written to etcd again", whose_);
  complained_ = !answered;
}

} // namespace matriarch::store
