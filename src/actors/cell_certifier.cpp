#include "actors/cell_certifier.hpp"

#include <spdlog/spdlog.h>

#include <set>

#include "actors/alarm.hpp"
#include "actors/last_words.hpp"
#include "base/times.hpp"
#include "http/tenant_text.hpp"
#include "store/cell_json.hpp"
#include "store/keys.hpp"
#include "tls/authorities.hpp"

namespace matriarch::actors {

namespace {

using namespace std::chrono_literals;
namespace keys = store::keys;

// A certificate is renewed a month before its end, so looking every ten minutes is often enough.
constexpr caf::timespan look_pause = 10min;
// The cell is waiting. etcd reports the authorities as soon as it is read.
constexpr caf::timespan pause_without_authority = 100ms;
constexpr caf::timespan retry_pause = 1s;
// Limits the work for a cell that announces requests again and again. A signature and a write take
// a millisecond.
constexpr caf::timespan signing_pace = 500ms;
// Above the etcd client's own time-out: its answer always comes first.
constexpr caf::timespan store_patience = 10s;
// A common name is for people and may have 64 bytes.
constexpr std::size_t longest_name = 64;

class cell_certifier {
public:
  cell_certifier(cell_certifier_actor::pointer self, cell_certifier_setup setup)
      : self_(self), alarm_(self), setup_(std::move(setup)) {
    for (auto& one : setup_.cells)
      cells_.push_back({one, one.uri.starts_with("http://")});
    look();
  }

  cell_certifier_actor::behavior_type behavior() {
    return {
        [this](const key_listing& all) {
          for (auto& one : cells_) {
            one.announced = {};
            if (one.word_at <= all.at)
              one.word = {};
          }
          for (const auto& entry : all.found)
            take(entry.key, entry.value, entry.mod_revision);
          look();
        },
        [this](const key_changes& changed) {
          for (const auto& c : changed.changes)
            take(c.entry.key, c.what == store::change::kind::put ? c.entry.value : std::string{},
                 c.entry.mod_revision);
          look();
        },
        [this](const activity& now) {
          active_ = now.active;
          look();
        },
        [this](tick_atom) {
          if (alarm_.rings())
            look();
        },
    };
  }

private:
  struct cell {
    cell_settings is;
    bool plain = false;         ///< reached by plain HTTP
    std::string announced = {}; ///< the cell's announcement in etcd; empty if there is none
    std::string word = {};      ///< the broker's answer in etcd; empty if there is none
    store::revision word_at = 0;
    bool writing = false;
    std::optional<caf::actor_clock::time_point> signed_at = {}; ///< last signature
    std::string refused = {}; ///< why the announced request cannot be signed
    cell_trust told = {};
  };

  void take(const std::string& key, const std::string& value, store::revision at) {
    for (auto& one : cells_)
      if (key == keys::cell(one.is.guid)) {
        one.announced = value;
      } else if (key == keys::cell_certificate(one.is.guid) && at >= one.word_at) {
        one.word = value;
        one.word_at = at;
      }
  }

  void look() {
    auto by = setup_.out->status.authority.load();
    bool waits = false;
    for (auto& one : cells_)
      waits = judge(one, by) || waits;
    if (active_ && waits)
      alarm_.set(by ? retry_pause : pause_without_authority);
    else if (active_)
      alarm_.set(look_pause);
  }

  /// True if the cell waits for a certificate and this broker may be able to give it later.
  bool judge(cell& one, const tls::authorities_ptr& by) {
    auto said = store::decode_cell_announcement(one.announced);
    auto word = store::decode_cell_word(one.word);
    auto now = setup_.outside.now();
    bool waits = false;
    if (!too_soon(one))
      one.refused.clear();
    if (!said.certificate_request.empty()) {
      std::set<std::string> hosts{tls::cell_host(one.is.guid),
                                  std::string{http::host_in(one.is.uri)}};
      bool good = by && word && word->plain_http == one.plain
                  && tls::answers(word->certificate, said.certificate_request)
                  && !tls::is_to_be_renewed(word->certificate, hosts, *by, now);
      waits = !good;
      if (!good && active_ && by && !one.writing && !too_soon(one))
        sign(one, said.certificate_request, hosts, *by);
    }
    tell(one, trust_in(one, said, word, by));
    return waits && one.refused.empty();
  }

  [[nodiscard]] bool too_soon(const cell& one) const {
    return one.signed_at && self_->clock().now() - *one.signed_at < signing_pace;
  }

  void sign(cell& one, const std::string& request, const std::set<std::string>& hosts,
            const tls::authorities& by) {
    one.signed_at = self_->clock().now();
    auto made = tls::certify_cell(by, request, {one.is.guid.substr(0, longest_name), hosts},
                                  setup_.outside.now());
    if (!made) {
      one.refused = made.error();
      return;
    }
    auto text = store::encode_cell_word({*std::move(made), one.plain});
    // Written only while this announcement stands and this broker is the active one.
    store::transaction what;
    what.compares = {store::has_value(keys::active, setup_.active_value),
                     store::has_value(keys::cell(one.is.guid), one.announced)};
    what.then = {store::put{keys::cell_certificate(one.is.guid), text}};
    one.writing = true;
    self_->request(setup_.store, store_patience, std::move(what))
        .then(
            [this, &one, text](const store::commit_result& came) {
              one.writing = false;
              if (came.state == store::commit_state::committed) {
                spdlog::info("cell {} has a new certificate", one.is.guid);
                take(keys::cell_certificate(one.is.guid), text, came.at);
              }
              look();
            },
            [this, &one](const caf::error&) {
              one.writing = false;
              look();
            });
  }

  /// The state of the connection to a cell, in words for the operator.
  [[nodiscard]] cell_trust trust_in(const cell& one, const store::cell_announcement& said,
                                    const std::optional<store::cell_word>& word,
                                    const tls::authorities_ptr& by) const {
    const auto& guid = one.is.guid;
    if (one.plain)
      return {guid, "plain HTTP", false};
    if (!one.is.authority.empty())
      return {guid, "TLS, by an authority of its own", false};
    auto has = word ? tls::describe(word->certificate)
                    : result<tls::description>{failure{"no certificate yet"}};
    bool answered = said.certificate_request.empty() || !has
                    || tls::answers(word->certificate, said.certificate_request);
    if (has && answered && has->valid.until > setup_.outside.now())
      return {guid, "TLS until " + base::text_of(has->valid.until).substr(0, 10), false};
    if (!one.refused.empty())
      return {guid, "no certificate: " + one.refused, true};
    if (one.announced.empty())
      return {guid, "no certificate: the cell has not announced itself in etcd", true};
    if (said.certificate_request.empty() && said.uri.starts_with("http://"))
      return {guid,
              "no certificate: it announces itself by http://, as agents of earlier releases do; "
              "upgrade its agent, or configure http:// for it here",
              true};
    if (said.certificate_request.empty())
      return {
          guid,
          "no certificate of the fleet's: the cell shows another one, whose authority has to be "
          "configured for it here",
          true};
    if (!active_)
      return {guid, "no certificate yet: the active broker signs it", true};
    return {guid,
            by ? "no certificate yet: it is being signed"
               : "no certificate yet: it is not known yet who signs for this fleet",
            true};
  }

  void tell(cell& one, cell_trust now) {
    if (now == one.told)
      return;
    if (!one.refused.empty())
      spdlog::error("cell {} gets no certificate: {}", one.is.guid, one.refused);
    one.told = now;
    self_->send(setup_.cells_directory, std::move(now));
  }

  cell_certifier_actor::pointer self_;
  alarm<cell_certifier_actor::pointer> alarm_;
  cell_certifier_setup setup_;
  std::vector<cell> cells_; ///< never shrinks: pending writes hold references to its elements
  bool active_ = false;
};

struct state {
  std::unique_ptr<cell_certifier> self;
};

} // namespace

cell_certifier_actor spawn_cell_certifier(caf::actor_system& system, cell_certifier_setup setup) {
  return system.spawn(
      [](cell_certifier_actor::stateful_pointer<state> self,
         cell_certifier_setup with) -> cell_certifier_actor::behavior_type {
        keep_last_words(self);
        self->state.self = std::make_unique<cell_certifier>(self, std::move(with));
        return self->state.self->behavior();
      },
      std::move(setup));
}

} // namespace matriarch::actors
