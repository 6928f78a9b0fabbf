#include <algorithm>
#include <atomic>
#include <deque>
#include <iterator>
#include <optional>
#include <random>
#include <utility>

#include "base/event_loop.hpp"
#include "store/etcd.hpp"
#include "store/etcd_json.hpp"
#include "store/etcd_session.hpp"
#include "store/wording.hpp"

namespace matriarch::store {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// A listing that is not answered in time is repeated with twice the time, up to this: enough for
/// the largest store on a busy disk.
constexpr milliseconds longest_listing{60'000};

/// Keys in a page: usually some megabytes, so that requests cost little compared with reading. A
/// page that is too long is requested again with a quarter of the keys, down to the number that
/// fits even with the greatest values etcd accepts. After such a page the pages grow again: large
/// values usually belong to one tenant, and the keys after them do not.
constexpr std::int64_t longest_page = 2'000;
constexpr std::int64_t shortest_page = 16;
// The most pages that may wait to be read. etcd prepares one while another is read; more would only
// take memory.
constexpr std::size_t most_unread = 2;

/// Half the silence limit has to be more than 100 ms: etcd may delay a resumed watch for so long.
constexpr milliseconds shortest_silence{400};

} // namespace

/// A cycle of listing (at the start, and when changes were lost), watching and, after a failure, a
/// pause. Everything below runs on the loop's thread. `round_` counts the failures: a callback from
/// an earlier round is dropped.
///
/// While watching, `known_` and `seen_` are what the listener knows: the number of keys, and the
/// revision of the newest change. The range is unchanged if it has the same number of keys and none
/// was written after `seen_`: a written key has a later revision, and a deleted key lowers the
/// number. The check does not rely on the store's revision, which also grows with changes outside
/// the range. Nor does it rely on etcd's progress notifications: etcd 3.4 may send them before
/// earlier changes.
struct follower::implementation : std::enable_shared_from_this<follower::implementation> {
  implementation(etcd_client& etcd, key_range followed, listener told, options chosen)
      : session_(etcd.session()), loop_(session_->loop()), timeout_(session_->timeout()),
        keys_(std::move(followed)), tell_(std::move(told)), how_(chosen) {
    how_.silence_limit = std::max(how_.silence_limit, shortest_silence);
    how_.first_pause = std::max(how_.first_pause, milliseconds{1});
    how_.longest_pause = std::max(how_.longest_pause, how_.first_pause);
    pause_ = how_.first_pause;
    listing_timeout_ = timeout_;
  }

  const std::shared_ptr<etcd_session> session_;
  base::event_loop& loop_;
  const milliseconds timeout_;
  key_range keys_;
  listener tell_;
  options how_;
  std::atomic<bool> closed_ = false;
  std::minstd_rand random_{std::random_device{}()};

  std::size_t endpoint_ = 0;
  std::uint64_t round_ = 0;
  milliseconds pause_;
  milliseconds listing_timeout_;
  /// The token of the last request.
  std::string token_;
  /// The token replaces a refused one, and has not been accepted yet.
  bool token_is_fresh_ = false;
  std::optional<bool> reachable_;
  std::optional<base::event_loop::task_id> stream_;
  std::optional<base::event_loop::task_id> request_;
  std::optional<base::event_loop::task_id> timer_;

  /// 0: list everything.
  revision seen_ = 0;
  /// The newest revision of the store up to which the listener is known to have every change.
  revision complete_ = 0;
  std::string cluster_;
  std::int64_t known_ = 0;

  // The listing in progress.
  revision listed_at_ = 0; ///< 0: the first page has not come yet
  std::int64_t listed_ = 0;
  std::string next_; ///< the first key of the requested page
  std::int64_t page_ = longest_page;
  struct page {
    base::outcome answer;
    bool next_is_asked_for = false;
  };
  std::deque<page> pages_; ///< pages that have come and are not read yet
  std::optional<base::event_loop::task_id> reading_;

  // The current watch.
  bool created_ = false;
  std::vector<change> fragments_;
  std::uint64_t deliveries_ = 0;
  clock::time_point last_line_;
  /// The revision that the check in progress waits for; 0: no check is in progress.
  revision goal_ = 0;
  bool asking_ = false;
  /// Since when the watch has not brought changes that are known to exist.
  std::optional<clock::time_point> owed_since_;

  /// Wraps a callback that is dropped after this round. It holds no strong reference: a callback
  /// that is never called, because the loop ends first, would keep this object alive for ever.
  template <class Function>
  auto in_this_round(Function then) {
    return [weak = weak_from_this(), round = round_, then = std::move(then)](auto&&... what) {
      if (auto self = weak.lock(); self && !self->closed_ && self->round_ == round)
        then(std::forward<decltype(what)>(what)...);
    };
  }

  [[nodiscard]] const std::string& endpoint() const { return session_->endpoints()[endpoint_]; }

  /// Passes the request to `then` as soon as there is a token; without a token the round fails.
  void prepare(std::string path, std::string body, std::function<void(base::outgoing)> then) {
    session_->token(endpoint_, clock::now() + timeout_,
                    in_this_round([this, path = std::move(path), body = std::move(body),
                                   then = std::move(then)](const result<std::string>& token) {
                      if (!token) {
                        fail(token.error());
                        return;
                      }
                      token_ = *token;
                      then(session_->request(endpoint_, path, body, token_));
                    }));
  }

  void report(bool is_reachable, const std::string& why) {
    if (reachable_ == is_reachable || closed_)
      return;
    reachable_ = is_reachable;
    tell_.reachable(is_reachable, why);
  }

  // -- the cycle ----------------------------------------------------------------

  void start() {
    if (seen_ == 0)
      list();
    else
      watch();
  }

  void drop(std::optional<base::event_loop::task_id>& task) {
    if (task)
      loop_.cancel(*task);
    task.reset();
  }

  void stop() {
    ++round_;
    drop(stream_);
    drop(request_);
    drop(timer_);
    drop(reading_);
    pages_.clear();
    created_ = false;
    fragments_.clear();
    goal_ = 0;
    asking_ = false;
    owed_since_.reset();
  }

  void start_after_pause() {
    // Half of the pause is random, so that the followers of a fleet do not reconnect all at once.
    std::uniform_int_distribution<milliseconds::rep> some{pause_.count() / 2, pause_.count()};
    timer_ = loop_.after(milliseconds{some(random_)}, in_this_round([this] { start(); }));
    pause_ = std::min(pause_ * 2, how_.longest_pause);
  }

  void fail(const std::string& why) {
    stop();
    const auto said =
        "following " + bounded(keys_.first) + " at " + endpoint() + ": " + bounded(why);
    endpoint_ = (endpoint_ + 1) % session_->endpoints().size();
    token_is_fresh_ = false;
    start_after_pause();
    report(false, said);
  }

  /// Whether the round starts again with a new token. A restarted etcd forgets tokens, which is no
  /// failure, unless it refuses the new token too.
  bool renewed(int status, const etcd_json::refusal& why) {
    if (session_->username().empty() || token_is_fresh_ || !etcd_json::refuses_token(status, why))
      return false;
    stop();
    session_->forget(token_);
    token_is_fresh_ = true;
    start();
    return true;
  }
  bool renewed(const base::outcome& answer) {
    return answer.status != 0 && answer.status != 200
           && renewed(answer.status, etcd_json::read_refusal(answer.body));
  }

  /// The changes since `seen_` are no longer available: lists everything again.
  void forget() {
    stop();
    seen_ = 0;
    start_after_pause();
  }

  // -- listing ------------------------------------------------------------------

  void list() {
    listed_at_ = 0;
    listed_ = 0;
    next_ = keys_.first;
    ask_for_page();
  }

  void ask_for_page() {
    auto body = etcd_json::page_body({next_, keys_.last}, listed_at_, page_);
    prepare("/v3/kv/range", std::move(body), [this](base::outgoing what) {
      what.timeout = listing_timeout_;
      request_ = loop_.send(std::move(what), in_this_round([this](base::outcome answer) {
                              request_.reset();
                              listed(std::move(answer));
                            }));
    });
  }

  void listed(base::outcome answer) {
    if (answer.too_long && page_ > shortest_page) {
      page_ = std::max(page_ / 4, shortest_page);
      ask_for_page();
      return;
    }
    if (answer.status == 0 && !answer.never_sent)
      listing_timeout_ = std::min(listing_timeout_ * 2, std::max(longest_listing, timeout_));
    if (renewed(answer))
      return;
    if (answer.status != 0 && answer.status != 200
        && etcd_json::is_compacted(etcd_json::read_refusal(answer.body))) {
      forget();
      return;
    }
    if (answer.status == 200 && answer.body.size() <= base::outgoing{}.max_answer_bytes / 2)
      page_ = std::min(page_ * 2, longest_page); // a page twice as long would have fitted too
    // etcd prepares the next page while this one is read. The first page has to be read first,
    // since it gives the revision.
    auto next = listed_at_ == 0 || pages_.size() + 1 >= most_unread
                    ? std::nullopt
                    : etcd_json::next_page(answer.body);
    pages_.push_back({std::move(answer), next.has_value()});
    if (next) {
      next_ = *std::move(next);
      ask_for_page();
    }
    if (pages_.size() == 1)
      read_soon();
  }

  /// Reads the page once the request for the next page has been sent.
  void read_soon() {
    reading_ = loop_.after(milliseconds{1}, in_this_round([this] {
                             reading_.reset();
                             read_page();
                           }));
  }

  void read_page() {
    auto page = std::move(pages_.front());
    pages_.pop_front();
    auto read = understood(page.answer);
    if (!read) {
      fail(read.error());
      return;
    }
    const bool first = listed_at_ == 0;
    if (!first && (read->cluster != cluster_ || read->at < listed_at_)) {
      forget(); // the remaining pages would come from another store
      return;
    }
    if (first) {
      listed_at_ = read->at;
      cluster_ = read->cluster;
    }
    listed_ += std::ssize(read->found);
    const bool last = !read->more || read->found.empty();
    if (!last && !page.next_is_asked_for) {
      next_ = read->found.back().key + '\0';
      ask_for_page();
    }
    const auto round = round_;
    tell_.listed({std::move(read->found), listed_at_, first, last});
    if (closed_ || round_ != round)
      return;
    if (!last) {
      if (!pages_.empty())
        read_soon();
      return;
    }
    known_ = listed_;
    seen_ = complete_ = listed_at_;
    listing_timeout_ = timeout_;
    page_ = longest_page;
    watch();
  }

  [[nodiscard]] static result<etcd_json::range_answer> understood(const base::outcome& answer) {
    if (answer.status == 0)
      return failure{answer.error};
    if (answer.status != 200)
      return failure{"etcd answered " + std::to_string(answer.status) + ": "
                     + etcd_json::read_refusal(answer.body).message};
    auto read = etcd_json::read_range(answer.body);
    if (!read)
      return failure{"etcd's answer cannot be read: " + read.error()};
    return read;
  }

  // -- watching -----------------------------------------------------------------

  void watch() {
    prepare("/v3/watch", etcd_json::watch_body(keys_, seen_ + 1), [this](base::outgoing what) {
      last_line_ = clock::now();
      stream_ = loop_.stream(std::move(what),
                             in_this_round([this](const std::string& text) { line(text); }),
                             in_this_round([this](const base::outcome& answer) {
                               stream_.reset();
                               ended(answer);
                             }));
      look_out();
    });
  }

  void ended(const base::outcome& answer) {
    if (renewed(answer))
      return;
    if (answer.status == 0) {
      fail(answer.error);
    } else if (answer.status != 200) {
      fail("etcd answered " + std::to_string(answer.status) + ": "
           + etcd_json::read_refusal(answer.body).message);
    } else if (!answer.body.empty()) {
      // If etcd ends the stream with an error, the last line has no line end.
      const auto round = round_;
      line(answer.body);
      if (!closed_ && round_ == round)
        fail("etcd ended the watch");
    } else {
      fail("etcd ended the watch");
    }
  }

  void line(const std::string& text) {
    last_line_ = clock::now();
    auto read = etcd_json::read_watch_line(text);
    if (!read) {
      fail("a line of the watch cannot be read: " + read.error());
      return;
    }
    if (read->compacted > 0 || etcd_json::is_compacted({-1, read->error})) {
      forget();
      return;
    }
    if (!read->error.empty()) {
      if (!renewed(200, {-1, read->error}))
        fail(read->error);
      return;
    }
    if (read->created) {
      created_ = true;
      check();
    }
    std::move(read->events.begin(), read->events.end(), std::back_inserter(fragments_));
    if (!read->fragment && !fragments_.empty())
      deliver();
  }

  void deliver() {
    auto changes = std::move(fragments_);
    fragments_.clear();
    std::erase_if(changes, [this](const change& one) { return one.entry.mod_revision <= seen_; });
    if (changes.empty())
      return;
    for (const auto& one : changes)
      if (one.what == change::kind::erase)
        --known_;
      else if (one.entry.create_revision == one.entry.mod_revision)
        ++known_;
    seen_ = changes.back().entry.mod_revision;
    complete_ = std::max(complete_, seen_);
    ++deliveries_;
    const auto round = round_;
    tell_.changed(std::move(changes), seen_);
    if (closed_ || round_ != round || !owed_since_)
      return;
    owed_since_.reset();
    if (seen_ >= goal_)
      satisfied();
    else
      ask(keys_);
  }

  // -- is the watch alive and complete? -----------------------------------------

  /// Checks again when half the silence limit has passed without a line, and more often while
  /// waiting for an answer.
  void look_out() {
    const auto half = how_.silence_limit / 2;
    const auto left = std::chrono::ceil<milliseconds>(last_line_ + half - clock::now());
    const auto delay = left.count() > 0 ? left : how_.silence_limit / 4;
    timer_ = loop_.after(delay, in_this_round([this, half] {
                           timer_.reset();
                           const auto now = clock::now();
                           if (owed_since_ && now - *owed_since_ >= half) {
                             fail("keys have changed and the watch does not bring the changes");
                             return;
                           }
                           if (now - last_line_ >= half) {
                             if (!created_) {
                               fail("no answer to the watch within " + std::to_string(half.count())
                                    + " ms");
                               return;
                             }
                             check();
                           }
                           look_out();
                         }));
  }

  void check() {
    if (goal_ != 0 || asking_)
      return;
    // One key is cheap, and enough if nothing was written since the last check.
    ask({keys_.first, {}});
  }

  void ask(const key_range& which) {
    const bool whole_range = which.last == keys_.last;
    asking_ = true;
    prepare("/v3/kv/range", etcd_json::newest_body(which, seen_),
            [this, whole_range, seen = seen_, deliveries = deliveries_](base::outgoing what) {
              what.timeout = std::min(timeout_, how_.silence_limit / 2);
              what.connect_timeout = std::min(what.connect_timeout, what.timeout);
              request_ =
                  loop_.send(std::move(what), in_this_round([=, this](const base::outcome& answer) {
                               request_.reset();
                               asking_ = false;
                               answered(answer, whole_range, seen, deliveries);
                             }));
            });
  }

  /// `seen` and `deliveries` have the values of the moment of the request.
  void answered(const base::outcome& answer, bool whole_range, revision seen,
                std::uint64_t deliveries) {
    if (renewed(answer))
      return;
    auto newest = understood(answer);
    if (!newest) {
      fail(newest.error());
      return;
    }
    if (newest->at < seen || newest->cluster != cluster_) {
      // Another store, or an older copy of this one: compare nothing with it.
      forget();
      return;
    }
    if (goal_ == 0)
      goal_ = newest->at;
    if (seen_ >= goal_ || newest->at <= complete_) {
      satisfied();
      return;
    }
    if (!whole_range || deliveries != deliveries_) {
      // Changes arrived in between, so that the answer cannot be compared with `known_`.
      ask(keys_);
      return;
    }
    if (newest->found.empty() && newest->count == known_) {
      complete_ = newest->at;
      satisfied();
      return;
    }
    // The changes are probably on their way.
    owed_since_ = clock::now();
  }

  void satisfied() {
    goal_ = 0;
    owed_since_.reset();
    last_line_ = clock::now();
    pause_ = how_.first_pause;
    token_is_fresh_ = false;
    report(true, {});
  }
};

follower::follower(etcd_client& etcd, key_range keys, listener tell, options how)
    : self_(std::make_shared<implementation>(etcd, std::move(keys), std::move(tell), how)) {
  self_->loop_.post([self = self_] {
    if (!self->closed_)
      self->start();
  });
}

follower::~follower() {
  self_->closed_ = true;
  self_->loop_.post([self = self_] { self->stop(); });
}

} // namespace matriarch::store
