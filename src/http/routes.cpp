#include "http/routes.hpp"

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/utf8.hpp"
#include "http/admin_routes.hpp"
#include "http/answering.hpp"
#include "http/forwarded.hpp"
#include "http/health.hpp"
#include "http/osb_answers.hpp"
#include "http/osb_routes.hpp"

namespace matriarch::http {

namespace {

// Every answer to a request carries the identity it came with (OSB, "Request Identity").
constexpr const char* identity_header = "x-broker-api-request-identity";
constexpr const char* identity_name = "X-Broker-API-Request-Identity";

bool is_under(const request& got, std::string_view first) {
  return !got.segments.empty() && got.segments[0] == first;
}

bool is_utf8_throughout(const request& got) {
  return std::ranges::all_of(got.segments, is_utf8)
         && std::ranges::all_of(got.query, [](const auto& pair) { return is_utf8(pair.second); });
}

class routes {
public:
  routes(std::shared_ptr<const route_settings> settings, front_desk& desk)
      : settings_(std::move(settings)), desk_(desk), platform_(settings_->platform),
        admin_(settings_->admin.empty() ? settings_->platform : settings_->admin),
        osb_(std::make_shared<osb_routes>(settings_, desk)), operators_(desk) {}

  /// A refusal costs strangers more than the broker: no body is read, and few refusals get a line
  /// in the trail.
  admission admit(const request& got) {
    if (is_open(got))
      return {};
    auto since = std::chrono::steady_clock::now();
    auto who = read_authorization(got);
    if (auto user = user_of(got, who))
      return {std::nullopt, std::move(*user)};
    auto answer = no_access();
    if (auto left_out = may_be_written(since))
      settings_->audit(
          audit_line({std::make_shared<const request>(got), who.username, refused_access, since,
                      client_of(got)},
                     answer, std::chrono::floor<model::duration>(std::chrono::system_clock::now()),
                     *left_out));
    return {std::move(answer), {}};
  }

  void serve(request arrived, responder to_sender) {
    auto since = std::chrono::steady_clock::now();
    auto whole = std::make_shared<const request>(std::move(arrived));
    const auto& got = *whole;
    reply to{std::move(to_sender)};
    if (const auto* identity = got.header(identity_header))
      to.add_header(identity_name, *identity);
    if (is_open(got))
      return got.verb == method::get ? to.send(health(got)) : refuse_method(to, "GET");
    if (got.user.empty())
      return to.send(no_access());
    if (auto action = action_of(got); !action.empty())
      to.audit({whole, got.user, action, since, client_of(got)}, settings_->audit);
    if (!is_utf8_throughout(got))
      return to.send(osb::error(400, "the path and the query have to be UTF-8, percent-encoded"));
    if (is_under(got, "v2"))
      return osb_->serve(whole, std::move(to));
    if (is_under(got, "admin"))
      return operators_.serve(got, std::move(to));
    to.send(nothing_here());
  }

private:
  // -- access -------------------------------------------------------------------------------------

  /// The client's address according to trusted proxies; empty without any.
  [[nodiscard]] std::string client_of(const request& got) const {
    if (got.header("x-forwarded-for") == nullptr)
      return {};
    return forwarded_client(got, [this](const model::ip_address& proxy) {
      if (settings_->trusted_proxies)
        return std::ranges::any_of(*settings_->trusted_proxies,
                                   [&](const auto& range) { return range.contains(proxy); });
      return is_own_router(proxy);
    });
  }

  /// Whether a live router of the fleet has that address. Loopback addresses count only for routers
  /// of this machine, for every machine has them.
  [[nodiscard]] bool is_own_router(const model::ip_address& proxy) const {
    auto known = desk_.routers();
    return std::ranges::any_of(known->living, [&](const auto& one) {
      const auto& said = one.second.said;
      return (!proxy.is_loopback() || said.host == settings_->machine)
             && std::ranges::find(said.addresses, proxy.text()) != said.addresses.end();
    });
  }

  /// Whether strangers may ask this.
  static bool is_open(const request& got) { return matches(got, {"healthz"}); }

  /// The number of refusals without a line since the last one, if a line may be written now; else
  /// nothing.
  std::optional<std::uint64_t> may_be_written(line_limiter::time_point now) {
    if (!settings_->audit)
      return std::nullopt;
    std::lock_guard guard{refusals_mutex_};
    return refusals_.admit(now);
  }

  /// The user of these credentials, if they are valid for that path.
  [[nodiscard]] std::optional<std::string> user_of(const request& got,
                                                   const authorization& who) const {
    if (got.segments.empty() || got.segments[0] == "v2")
      return platform_.admit(who);
    if (got.segments[0] == "admin")
      return admin_.admit(who);
    auto as_platform = platform_.admit(who);
    return as_platform ? as_platform : admin_.admit(who);
  }

  [[nodiscard]] response no_access() const {
    auto answer = osb::error(401, settings_->admin.empty()
                                      ? "the user name, the password or the token is wrong"
                                      : "the user name, the password or the token is wrong, or not "
                                        "for this path: /v2 takes the platform's credentials, "
                                        "/admin the operator's");
    answer.headers.emplace_back("WWW-Authenticate", "Basic realm=\"matriarch\"");
    if (!settings_->platform.tokens.empty() || !settings_->admin.tokens.empty())
      answer.headers.emplace_back("WWW-Authenticate", "Bearer realm=\"matriarch\"");
    return answer;
  }

  /// `?active`: see health_question.
  [[nodiscard]] response health(const request& got) const {
    // Load balancers ask without credentials, and often.
    bool by_operator =
        got.header("authorization") != nullptr && admin_.admit(read_authorization(got)).has_value();
    return health_answer(desk_.health(), *desk_.cells(), *desk_.routers(),
                         {by_operator, got.query_value("active") != nullptr});
  }

  std::shared_ptr<const route_settings> settings_;
  front_desk& desk_;
  gate platform_;
  gate admin_;
  std::shared_ptr<osb_routes> osb_;
  admin_routes operators_;
  std::mutex refusals_mutex_;
  line_limiter refusals_;
};

} // namespace

service make_routes(route_settings settings, front_desk& desk) {
  auto all =
      std::make_shared<routes>(std::make_shared<const route_settings>(std::move(settings)), desk);
  return {[all](const request& got) { return all->admit(got); },
          [all](request got, responder to) { all->serve(std::move(got), std::move(to)); },
          identity_header, identity_name};
}

} // namespace matriarch::http
