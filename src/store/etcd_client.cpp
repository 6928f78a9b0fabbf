#include <algorithm>
#include <atomic>
#include <set>
#include <utility>

#include "base/event_loop.hpp"
#include "store/etcd.hpp"
#include "store/etcd_json.hpp"
#include "store/etcd_session.hpp"
#include "store/etcd_users.hpp"
#include "store/wording.hpp"

namespace matriarch::store {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

/// Pause before a request is repeated because etcd's users changed: about as long as a change
/// takes.
constexpr milliseconds pause_for_users{10};

/// How often one call is repeated with a new token. The second repetition serves a call that had an
/// old token just when etcd's users changed. If etcd refuses a new token too, the fault is etcd's.
constexpr int most_renewals = 2;

/// Describes a transaction for error messages: its keys, never its values.
std::string words_for(const transaction& what) {
  std::set<std::string> keys;
  std::string first;
  auto note = [&](const std::string& key) {
    if (keys.empty())
      first = key;
    keys.insert(key);
  };
  for (auto* branch : {&what.then, &what.otherwise})
    for (const auto& one : *branch) {
      if (auto* to_put = std::get_if<put>(&one))
        note(to_put->key);
      else if (auto* to_erase = std::get_if<erase>(&one))
        note(to_erase->keys.first);
      else
        note(std::get<read>(one).keys.first);
    }
  for (const auto& one : what.compares)
    note(one.key);
  if (keys.empty())
    return "an empty transaction";
  auto text = "a transaction on " + bounded(first);
  if (keys.size() > 1)
    text += " and " + std::to_string(keys.size() - 1) + " more";
  return text;
}

std::string words_for(lease_id lease) {
  return "lease " + std::to_string(lease);
}

} // namespace

key_range keys_below(std::string prefix) {
  // etcd's convention: a zero byte as the end means "no end"; as the start, "from the first key".
  const std::string zero(1, '\0');
  std::string last = prefix;
  while (!last.empty() && static_cast<unsigned char>(last.back()) == 0xff)
    last.pop_back();
  if (last.empty())
    last = zero;
  else
    last.back() = static_cast<char>(static_cast<unsigned char>(last.back()) + 1);
  if (prefix.empty())
    prefix = zero;
  return {std::move(prefix), std::move(last)};
}

compare absent(std::string key) {
  return {compare::subject::create_revision, compare::relation::equal, std::move(key), 0, {}};
}

compare unchanged_since(std::string key, revision at) {
  return {compare::subject::mod_revision, compare::relation::equal, std::move(key), at, {}};
}

compare has_value(std::string key, std::string value) {
  return {compare::subject::value, compare::relation::equal, std::move(key), 0, std::move(value)};
}

struct etcd_client::implementation : std::enable_shared_from_this<etcd_client::implementation> {
  explicit implementation(std::shared_ptr<etcd_session> used) : session(std::move(used)) {}

  /// The result of a call at the last endpoint that was asked.
  struct ending {
    base::outcome answer;
    /// Whether an endpoint may have acted on the request.
    bool perhaps_done = false;
    /// For people; empty if the status is 200.
    std::string error = {};
  };

  struct call {
    std::string path;
    std::string body;
    std::string words;
    /// Whether the call may be repeated although it may have been done.
    bool repeatable = false;
    std::function<void(ending)> done;
    /// The client's time-out from the start, unless set.
    clock::time_point deadline = {};
    std::size_t attempts_left = 0;
    int renewals_left = most_renewals;
    bool perhaps_done = false;
  };

  const std::shared_ptr<etcd_session> session;
  std::atomic<std::size_t> current = 0;
  std::atomic<bool> closed = false;

  void start(call what) {
    if (what.deadline == clock::time_point{})
      what.deadline = clock::now() + session->timeout();
    // Two attempts even with a single endpoint: the first may use a connection that a restarted
    // etcd no longer knows.
    what.attempts_left = std::max<std::size_t>(session->endpoints().size(), 2);
    attempt(std::make_shared<call>(std::move(what)), current);
  }

  void attempt(std::shared_ptr<call> what, std::size_t at) {
    // Weak: the session keeps this callback until it has a token, which may be never.
    session->token(at, what->deadline,
                   [weak = weak_from_this(), what, at](const result<std::string>& token) {
                     auto self = weak.lock();
                     if (!self || self->closed)
                       return;
                     if (token)
                       self->send(what, at, *token);
                     else
                       self->end(*what, {}, token.error());
                   });
  }

  void send(const std::shared_ptr<call>& what, std::size_t at, const std::string& token) {
    auto left = std::max(milliseconds{1},
                         std::chrono::duration_cast<milliseconds>(what->deadline - clock::now()));
    auto fair_share = std::max(milliseconds{1}, left / static_cast<int>(what->attempts_left));
    auto request = session->request(at, what->path, what->body, token);
    request.connect_timeout = std::min(longest_connect, fair_share);
    // A call that cannot be repeated may wait here until its deadline. With a single endpoint there
    // is a second attempt only if the first fails fast.
    request.timeout = what->repeatable && session->endpoints().size() > 1 ? fair_share : left;
    --what->attempts_left;
    session->loop().send(std::move(request),
                         [self = shared_from_this(), what, at, token](base::outcome answer) {
                           if (!self->closed)
                             self->judge(what, at, token, std::move(answer));
                         });
  }

  void end(const call& what, base::outcome answer, const std::string& error) {
    what.done({.answer = std::move(answer),
               .perhaps_done = what.perhaps_done,
               .error = error.empty() ? error : what.words + ": " + bounded(error)});
  }

  void judge(const std::shared_ptr<call>& what, std::size_t at, const std::string& token,
             base::outcome answer) {
    if (answer.status == 200) {
      end(*what, std::move(answer), {});
      return;
    }
    bool nothing_happened = answer.never_sent;
    bool elsewhere = true;
    auto error = answer.error;
    if (answer.status != 0) {
      auto why = etcd_json::read_refusal(answer.body);
      // Making or removing an instance changes etcd's users about a dozen times within a moment.
      if (etcd_json::users_changed_meanwhile(why)
          && clock::now() + pause_for_users < what->deadline) {
        session->forget(token); // some kinds of token contain the users' revision
        ++what->attempts_left;
        session->loop().after(pause_for_users,
                              [self = shared_from_this(), what, at] { self->attempt(what, at); });
        return;
      }
      if (!session->username().empty() && etcd_json::refuses_token(answer.status, why)) {
        session->forget(token);
        if (what->renewals_left > 0 && clock::now() < what->deadline) {
          --what->renewals_left;
          ++what->attempts_left;
          attempt(what, at);
          return;
        }
      }
      elsewhere = etcd_json::worth_another_endpoint(answer.status, why);
      nothing_happened = etcd_json::certainly_not_done(answer.status, why);
      error = session->endpoints()[at] + " answered " + std::to_string(answer.status) + ": "
              + why.message;
    }
    what->perhaps_done = what->perhaps_done || !nothing_happened;
    if (elsewhere) {
      const auto next = (at + 1) % session->endpoints().size();
      // Unless another call has already moved to the next endpoint.
      auto expected = at;
      current.compare_exchange_strong(expected, next);
      if (what->attempts_left > 0 && clock::now() < what->deadline
          && (what->repeatable || !what->perhaps_done)) {
        attempt(what, next);
        return;
      }
    }
    end(*what, std::move(answer), error);
  }

  /// Makes the calls that change etcd's users: several calls within the time-out of one.
  etcd_users::ask for_users(std::string words) {
    return [self = shared_from_this(), words = std::move(words),
            deadline = clock::now() + session->timeout()](
               std::string path, std::string body, std::function<void(etcd_users::answer)> done) {
      self->start(
          {.path = std::move(path),
           .body = std::move(body),
           .words = words,
           .repeatable = true,
           .done =
               [done = std::move(done)](ending end) {
                 done({end.answer.status, std::move(end.answer.body), std::move(end.error)});
               },
           .deadline = deadline});
    };
  }

  /// Makes a lease call. `interpret` reads the answer. etcd's "no such lease" becomes `gone`.
  void lease_call(std::string path, std::string body, std::string words, lease_id id,
                  std::function<void(lease_result&, const etcd_json::lease_answer&)> interpret,
                  std::function<void(lease_result)> done) {
    start(
        {.path = std::move(path),
         .body = std::move(body),
         .words = words,
         .repeatable = true,
         .done = [words, id, interpret = std::move(interpret), done = std::move(done)](ending end) {
           lease_result result;
           result.id = id;
           if (end.error.empty()) {
             if (auto answer = etcd_json::read_lease(end.answer.body)) {
               interpret(result, *answer);
             } else {
               result.error = words + ": etcd's answer cannot be read: " + bounded(answer.error());
             }
           } else if (end.answer.status == 404
                      && etcd_json::read_refusal(end.answer.body).code == 5) {
             result.is = lease_result::state::gone; // gRPC's NOT_FOUND
           } else {
             result.error = end.error;
           }
           done(std::move(result));
         }});
  }
};

etcd_client::etcd_client(base::event_loop& loop, etcd_access access, milliseconds timeout)
    : self_(std::make_shared<implementation>(
        std::make_shared<etcd_session>(loop, std::move(access), timeout))) {}

etcd_client::etcd_client(base::event_loop& loop, std::vector<std::string> endpoints,
                         milliseconds timeout)
    : etcd_client(loop, etcd_access{std::move(endpoints)}, timeout) {}

etcd_client::~etcd_client() {
  self_->closed = true;
}

base::event_loop& etcd_client::loop() const {
  return self_->session->loop();
}

const std::shared_ptr<etcd_session>& etcd_client::session() const {
  return self_->session;
}

void etcd_client::commit(transaction what, std::function<void(commit_result)> done) {
  auto words = words_for(what);
  auto body = etcd_json::transaction_body(what);
  // Understanding the answer needs only the number of reads: drop the values to save memory.
  for (auto* branch : {&what.then, &what.otherwise})
    std::erase_if(*branch, [](const operation& one) { return !std::holds_alternative<read>(one); });
  what.compares.clear();
  self_->start(
      {.path = "/v3/kv/txn",
       .body = std::move(body),
       .words = words,
       .repeatable = false,
       .done = [words, what = std::move(what), done = std::move(done)](implementation::ending end) {
         if (!end.error.empty()) {
           commit_result result;
           result.state = end.perhaps_done ? commit_state::unknown : commit_state::not_done;
           result.over = end.answer.status != 0
                         && etcd_json::is_out_of_space(etcd_json::read_refusal(end.answer.body));
           result.error = std::move(end.error);
           done(std::move(result));
           return;
         }
         auto answer = etcd_json::read_commit(end.answer.body, what);
         if (answer) {
           done(*std::move(answer));
           return;
         }
         commit_result result;
         result.error = words + ": etcd's answer cannot be read: " + bounded(answer.error());
         done(std::move(result));
       }});
}

void etcd_client::range(key_range keys, std::function<void(range_result)> done) {
  auto words = words_for(keys);
  auto body = etcd_json::range_body(keys);
  self_->start({.path = "/v3/kv/range",
                .body = std::move(body),
                .words = words,
                .repeatable = true,
                .done = [words, done = std::move(done)](implementation::ending end) {
                  range_result result;
                  if (!end.error.empty()) {
                    result.error = std::move(end.error);
                  } else if (auto answer = etcd_json::read_range(end.answer.body)) {
                    result.ok = true;
                    result.at = answer->at;
                    result.found = std::move(answer->found);
                  } else {
                    result.error =
                        words + ": etcd's answer cannot be read: " + bounded(answer.error());
                  }
                  done(std::move(result));
                }});
}

void etcd_client::grant_lease(std::chrono::seconds ttl, std::function<void(lease_result)> done) {
  self_->lease_call(
      "/v3/lease/grant", etcd_json::grant_body(ttl),
      "a lease for " + std::to_string(ttl.count()) + " s", 0,
      [](lease_result& result, const etcd_json::lease_answer& answer) {
        result.id = answer.id;
        result.ttl = answer.ttl;
        if (answer.id != 0 && answer.ttl.count() > 0)
          result.is = lease_result::state::held;
        else
          result.error = "etcd's answer to a request for a lease holds none";
      },
      std::move(done));
}

void etcd_client::keep_alive(lease_id lease, std::function<void(lease_result)> done) {
  self_->lease_call(
      "/v3/lease/keepalive", etcd_json::lease_body(lease), "renewing " + words_for(lease), lease,
      [lease](lease_result& result, const etcd_json::lease_answer& answer) {
        result.ttl = answer.ttl;
        if (answer.id != lease)
          result.error = "etcd's answer to renewing " + words_for(lease) + " is about another";
        else
          result.is =
              answer.ttl.count() > 0 ? lease_result::state::held : lease_result::state::gone;
      },
      std::move(done));
}

void etcd_client::revoke_lease(lease_id lease, std::function<void(lease_result)> done) {
  self_->lease_call(
      "/v3/lease/revoke", etcd_json::lease_body(lease), "giving up " + words_for(lease), lease,
      [](lease_result& result, const etcd_json::lease_answer&) {
        result.is = lease_result::state::gone;
      },
      std::move(done));
}

// -- users --------------------------------------------------------------------

void etcd_client::admit_user(std::string username, std::string password,
                             std::vector<key_range> readable, std::vector<key_range> writable,
                             std::function<void(std::string)> done) {
  auto words = "admitting user \"" + bounded(username) + "\" to etcd";
  etcd_users::admit(self_->for_users(std::move(words)), std::move(username), std::move(password),
                    readable, writable, std::move(done));
}

void etcd_client::dismiss_user(std::string username, std::function<void(std::string)> done) {
  auto words = "dismissing user \"" + bounded(username) + "\" from etcd";
  etcd_users::dismiss(self_->for_users(std::move(words)), std::move(username), std::move(done));
}

} // namespace matriarch::store
