#include "actors/reencryption.hpp"

#include <memory>
#include <mutex>
#include <utility>

namespace matriarch::actors {

namespace {

// Enough to keep etcd busy, and far below the broker's limit of requests, so that platforms are
// still served.
constexpr std::size_t most_at_once = 16;

class sweep : public std::enable_shared_from_this<sweep> {
public:
  sweep(std::vector<std::string> instance_ids, std::vector<std::string> unreadable,
        ask_instance ask, std::function<void(model::reencryption_report)> done)
      : ask_(std::move(ask)), done_(std::move(done)), left_(std::move(instance_ids)) {
    for (auto& name : unreadable)
      report_.failed.push_back({std::move(name), "its record cannot be read and stays sealed with "
                                                 "its present key; the broker's log says why"});
  }

  /// Asks as many instances as may be asked at a time. An answer that comes from within `ask_` does
  /// not start this loop again, so there is no recursion.
  void go_on() {
    std::unique_lock guard{mutex_};
    if (asking_)
      return;
    asking_ = true;
    while (!left_.empty() && under_way_ < most_at_once) {
      auto id = std::move(left_.back());
      left_.pop_back();
      ++under_way_;
      guard.unlock();
      ask_(model::reencrypt_request{id}, model::request_patience,
           [self = shared_from_this(), id](const model::verdict& said) { self->heard(id, said); });
      guard.lock();
    }
    asking_ = false;
    if (left_.empty() && under_way_ == 0 && done_) {
      auto done = std::exchange(done_, nullptr);
      guard.unlock();
      done(std::move(report_));
    }
  }

private:
  void heard(const std::string& id, const model::verdict& said) {
    {
      std::lock_guard guard{mutex_};
      --under_way_;
      if (said.is == model::verdict_kind::done)
        ++report_.instances;
      else if (said.is != model::verdict_kind::not_found && said.is != model::verdict_kind::gone)
        report_.failed.push_back({id, said.description});
    }
    go_on();
  }

  ask_instance ask_;
  std::function<void(model::reencryption_report)> done_;
  std::mutex mutex_;
  std::vector<std::string> left_;
  std::size_t under_way_ = 0;
  bool asking_ = false;
  model::reencryption_report report_;
};

} // namespace

void reencrypt_all(std::vector<std::string> instance_ids, std::vector<std::string> unreadable,
                   ask_instance ask, std::function<void(model::reencryption_report)> done) {
  std::make_shared<sweep>(std::move(instance_ids), std::move(unreadable), std::move(ask),
                          std::move(done))
      ->go_on();
}

} // namespace matriarch::actors
