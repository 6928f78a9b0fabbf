#include "actors/record_keeper.hpp"

#include <spdlog/spdlog.h>

#include <utility>

#include "model/routes.hpp"
#include "store/keys.hpp"
#include "store/record_json.hpp"
#include "store/unknown_members.hpp"

namespace matriarch::actors {

namespace {

namespace keys = store::keys;

} // namespace

const engine_in_use& record_keeper::engine() const {
  return setup_.engines.of(record_ ? record_->living.engine.text() : "");
}

std::string record_keeper::key() const {
  return keys::record(name_);
}

// -- what is known --------------------------------------------------------------------------------

void record_keeper::adopt(model::record known, store::revision at) {
  bool rerouted = !record_ || !model::routed_alike(*record_, known);
  record_ = std::make_shared<const model::record>(std::move(known));
  at_ = at;
  host_.record_changed(rerouted);
}

void record_keeper::forget() {
  record_.reset();
  at_ = 0;
  host_.record_gone();
}

void record_keeper::learn(const store::key_value& entry, bool erased) {
  if (busy_ || entry.mod_revision <= at_)
    return;
  if (erased) {
    forget();
  } else if (auto read = store::decode_record(entry.value, *setup_.keys); read.ok()) {
    adopt(std::move(*read), entry.mod_revision);
  } else {
    spdlog::error("{} cannot be read and is left alone: {}", key(), read.error());
  }
}

void record_keeper::learn_absence(store::revision at) {
  if (record_ && !busy_ && at >= at_)
    forget();
}

// -- who may change it ----------------------------------------------------------------------------

bool record_keeper::acts() const {
  return activity_.active && self_->clock().now() < setup_.out->status.acts_until.load();
}

bool record_keeper::may_act(answer& owed) const {
  bool may = acts();
  if (!may)
    owed.deliver(model::verdict{model::verdict_kind::unavailable,
                                "this broker is not the active one; try again in a few seconds"});
  return may;
}

// -- changes --------------------------------------------------------------------------------------

bool record_keeper::rests() const {
  return self_->clock().now() < again_at_;
}

void record_keeper::write(model::record next, std::vector<store::compare> compares,
                          std::vector<store::operation> operations, after_commit then) {
  next.write_id = setup_.outside.new_id();
  etcd_write what;
  what.compares = std::move(compares);
  what.compares.push_back(at_ == 0 ? store::absent(key()) : store::unchanged_since(key(), at_));
  what.operations = std::move(operations);
  auto text = store::encode_record(next, *setup_.keys);
  store::forget_what_is_gone(next, text);
  what.operations.push_back(store::put{key(), std::move(text)});
  what.witness = {key(), ""};
  what.made = [id = next.write_id, keys = setup_.keys](const auto& found) {
    if (found.empty())
      return false;
    auto written = store::decode_record(found.front().value, *keys);
    return written.ok() && written->write_id == id;
  };
  commit(std::move(what),
         [this, next = std::move(next), then = std::move(then)](const write_result& came) mutable {
           if (came.done())
             adopt(std::move(next), came.at);
           then(came);
         });
}

void record_keeper::commit(etcd_write what, after_commit then) {
  busy_ = true;
  writer_.commit(std::move(what), [this, then = std::move(then)](const write_result& came) {
    busy_ = false;
    if (came.is == write_result::kind::refused)
      learn_refusal(came);
    if (!came.done())
      again_at_ = self_->clock().now() + retry_pause;
    then(came);
    host_.go_on();
  });
}

/// Learns from a refused change whether this broker is active, and the present record.
void record_keeper::learn_refusal(const write_result& came) {
  // A refusal from an earlier term may arrive late; nothing would correct what it says about this
  // term.
  if (!came.active && came.at > activity_.since)
    activity_.active = false;
  if (came.record.empty()) {
    if (record_)
      forget();
  } else if (came.record.front().mod_revision != at_) {
    if (auto read = store::decode_record(came.record.front().value, *setup_.keys); read.ok())
      adopt(std::move(*read), came.record.front().mod_revision);
  }
}

// -- requests that wait for a change --------------------------------------------------------------

void record_keeper::in_turn(std::function<void()> serve) {
  if (busy_ || !waiting_.empty())
    waiting_.push_back({self_->clock().now() + model::request_patience, setup_.out->status.outages,
                        std::move(serve)});
  else
    serve();
}

bool record_keeper::serve_waiting() {
  while (!waiting_.empty() && !busy_) {
    auto next = std::move(waiting_.front());
    waiting_.pop_front();
    // A request that was answered with a failure must not be carried out later.
    if (self_->clock().now() < next.too_late && next.outage == setup_.out->status.outages)
      next.serve();
  }
  return !busy_;
}

} // namespace matriarch::actors
