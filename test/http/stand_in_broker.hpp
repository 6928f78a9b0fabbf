#pragma once

#include <doctest/doctest.h>

#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "../texts.hpp"
#include "base/json.hpp"
#include "engines/postgresql/model/decisions.hpp"
#include "http/routes.hpp"
#include "raw_socket.hpp"

/// The broker's API over real HTTP, in front of a desk that answers as a test wants.
namespace matriarch::test {

using namespace matriarch::http;

inline constexpr const char* good_credentials =
    "Authorization: Basic dXNlcjpwYXNz\r\n"; // user:pass
inline constexpr const char* version = "X-Broker-API-Version: 2.17\r\n";

inline const model::engine_list& some_engines() {
  static const model::engine_list all{{&engines::postgresql::decisions()}};
  return all;
}

inline model::catalog small_catalog() {
  model::plan p;
  p.id = "plan-id";
  p.name = "small";
  p.description = "two nodes";
  p.metadata = R"({"bullets":["x"]})";
  p.maximum_polling_duration = 600;
  p.binding_rotatable = true;
  p.maintenance = model::maintenance_info{"1.2.0", "restarts the nodes"};
  p.provision.settings.parameters["work_mem"] = "5MB";
  p.provision.binding_lifetime = 3600;
  model::plan unbindable = p;
  unbindable.id = "closed-id";
  unbindable.name = "closed";
  unbindable.bindable = false;
  unbindable.plan_updateable = true;
  unbindable.binding_rotatable = false;
  unbindable.maintenance.reset();
  model::plan open = p;
  open.id = "open-id";
  open.name = "open";
  open.binding_rotatable = false;
  open.maintenance.reset();
  open.provision.settings.credentials = model::credentials_mode::shared;
  open.provision.superuser_in_bindings = true;
  model::service s;
  s.id = "service-id";
  s.name = "postgresql";
  s.description = "clusters";
  s.tags = {"sql"};
  s.metadata = R"({"shareable":true})";
  s.allow_context_updates = true;
  s.plans = {p, unbindable, open};
  model::service fixed = s;
  fixed.id = "fixed-service";
  fixed.name = "fixed";
  fixed.allow_context_updates = false;
  fixed.plans = {p};
  fixed.plans[0].id = "fixed-plan";
  return {{s, fixed}};
}

inline model::cell_table two_cells() {
  model::cell_view a, b;
  a.guid = "cell-a";
  a.availability_zone = "z1";
  a.reachable = true;
  b.guid = "cell-b";
  b.availability_zone = "z2";
  b.lacks_certificate = true;
  return std::make_shared<const std::vector<model::cell_view>>(std::vector{a, b});
}

/// A binding with the instance's application user.
inline model::binding ready_binding() {
  model::binding made;
  made.binding_id = "b";
  made.service_id = "service-id";
  made.plan_id = "plan-id";
  made.app_guid = "app";
  made.phase = model::binding_phase::ready;
  made.operation_id = "op-b";
  return made;
}

inline model::instance_snapshot instance_of(model::operation_type type,
                                            model::operation_state state) {
  model::instance_snapshot s;
  auto& r = s.known;
  r.instance_id = "known";
  r.service_id = "service-id";
  r.plan_id = "plan-id";
  r.parameters = R"({"node-count":2})";
  r.living.set_secret(model::secret_name::admin, {"admin", "secret-1"});
  r.living.set_secret(model::secret_name::superuser, {"super", "secret-2"});
  r.living.set_secret(model::secret_name::application, {"app/user", "p@ss:w"});
  r.living.set_secret(model::secret_name::replication, {"repl", "secret-4"});
  r.living.set_secret(model::secret_name::control, {"pat", "secret-5"});
  r.endpoints[model::endpoint::primary] = 30007;
  r.current.id = "op-1";
  r.current.type = type;
  r.current.state = state;
  r.current.description = "the final words";
  r.living.had_leader =
      type != model::operation_type::provision || state == model::operation_state::succeeded;
  model::node n;
  n.node_id = "n1";
  n.cell = "cell-a";
  n.service_id = "service-id";
  n.plan_id = "plan-id";
  n.phase = model::node_phase::started;
  r.living.nodes = {n};
  s.seen.members["n1"] = {"running", "http://h:8008/patroni", "postgres://h:5432/postgres", 1};
  s.seen.leader = "n1";
  s.progress = "members starting, stopped";
  s.bindings["b"] = ready_binding();
  return s;
}

inline model::snapshot_ptr snapshot(model::operation_type type, model::operation_state state) {
  return std::make_shared<const model::instance_snapshot>(instance_of(type, state));
}

inline model::snapshot_ptr settled() {
  return snapshot(model::operation_type::provision, model::operation_state::succeeded);
}

inline model::snapshot_ptr with_binding(const model::binding& one, int read_only_port = 0) {
  auto s = instance_of(model::operation_type::provision, model::operation_state::succeeded);
  s.known.endpoints[model::endpoint::read_only] = read_only_port;
  s.bindings[one.binding_id] = one;
  return std::make_shared<const model::instance_snapshot>(s);
}

/// The instance's answer to a lookup or an ended operation.
inline model::verdict found(model::snapshot_ptr instance) {
  model::verdict said{model::verdict_kind::done};
  said.instance = std::move(instance);
  return said;
}

/// Its answer to a bind.
inline model::verdict bound(model::verdict_kind is, const model::binding& one,
                            int read_only_port = 0) {
  model::verdict said{is};
  said.bound = one;
  said.operation_id = one.operation_id;
  said.instance = with_binding(one, read_only_port);
  return said;
}

/// A broker whose front desk answers each request with `says`, and keeps what it was asked.
struct broker {
  model::snapshot_ptr known; ///< found under any name it was asked for, if set
  std::function<model::verdict(const model::request&)> says = [](const model::request&) {
    return model::verdict{model::verdict_kind::accepted, "", "op-1"};
  };
  broker_health health{true, true, true};
  model::routers routers;
  model::cell_table cells = two_cells();
  std::string authority = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";
  model::demote_report report;
  model::forget_report forgotten;
  std::vector<model::orphan> orphans;
  std::vector<std::string> removed; ///< orphans that were to be removed
  model::verdict removal;
  model::reencryption_report rewritten;
  int reencryptions = 0; ///< the number that were begun

  using answering = std::function<void(const model::request&, std::function<void(model::verdict)>)>;

  /// `edit` changes the settings; `answer`, if given, is called instead of `says`.
  explicit broker(bool strict = true, const std::function<void(route_settings&)>& edit = {},
                  const answering& answer = {}, server_options options = {}) {
    route_settings settings;
    settings.catalog = small_catalog();
    settings.platform.users = {{"user", "pass"}};
    settings.strict = strict;
    settings.engines = &some_engines();
    settings.advertise_host = "db.example.org";
    settings.audit = [this](std::string line) {
      std::lock_guard guard{mutex_};
      trail_.push_back(std::move(line));
    };
    if (edit)
      edit(settings);
    answer_ = answer;
    server_ = std::make_unique<server>(std::move(options), make_routes(settings, desk_));
    REQUIRE_FALSE(server_->start().has_value());
  }

  raw_answer send_as(const std::string& headers, const std::string& verb, const std::string& path,
                     const std::string& body = {}) {
    return ask(server_->port(), verb + " " + path + " HTTP/1.1\r\nHost: h\r\n" + headers
                                    + "Content-Length: " + std::to_string(body.size()) + "\r\n\r\n"
                                    + body);
  }
  raw_answer send(const std::string& verb, const std::string& path, const std::string& body = {}) {
    return send_as(std::string{good_credentials} + version, verb, path, body);
  }

  [[nodiscard]] std::uint16_t port() const { return server_->port(); }
  [[nodiscard]] server_load load() const { return server_->load(); }
  void stop() { server_->stop(); }

  std::vector<model::request> asked() {
    std::lock_guard guard{mutex_};
    return asked_;
  }
  /// The audit trail so far.
  std::vector<std::string> trail() {
    std::lock_guard guard{mutex_};
    return trail_;
  }
  std::vector<std::string> names() {
    std::lock_guard guard{mutex_};
    return names_;
  }
  /// The only request that reached the backend.
  template <class Request>
  Request only() {
    auto all = asked();
    REQUIRE(all.size() == 1);
    REQUIRE(std::holds_alternative<Request>(all[0]));
    return std::get<Request>(all[0]);
  }

private:
  struct desk : front_desk {
    explicit desk(broker& of) : of(of) {}

    [[nodiscard]] model::snapshot_ptr find(const std::string& name) const override {
      std::lock_guard guard{of.mutex_};
      of.names_.push_back(name);
      return of.known;
    }
    [[nodiscard]] std::vector<model::snapshot_ptr> all() const override {
      return of.known ? std::vector{of.known} : std::vector<model::snapshot_ptr>{};
    }
    [[nodiscard]] model::cell_table cells() const override { return of.cells; }
    [[nodiscard]] model::router_table routers() const override {
      return std::make_shared<const model::routers>(of.routers);
    }
    [[nodiscard]] std::shared_ptr<const std::vector<model::orphan>> orphans() const override {
      return std::make_shared<const std::vector<model::orphan>>(of.orphans);
    }
    [[nodiscard]] broker_health health() const override { return of.health; }
    [[nodiscard]] std::string authority() const override { return of.authority; }

    void ask(model::request what, std::chrono::milliseconds /*patience*/,
             receiver<model::verdict> done) override {
      {
        std::lock_guard guard{of.mutex_};
        of.asked_.push_back(what);
      }
      if (of.answer_)
        of.answer_(what, done);
      else
        done(of.says(what));
    }
    void demote(model::demote_request /*what*/, receiver<model::demote_report> done) override {
      done(of.report);
    }
    void forget(model::forget_request /*what*/, receiver<model::forget_report> done) override {
      done(of.forgotten);
    }
    void remove_orphan(model::orphan_removal what, receiver<model::verdict> done) override {
      of.removed.push_back(what.cell + "/" + what.node_id);
      done(of.removal);
    }
    void reencrypt_all(receiver<model::reencryption_report> done) override {
      ++of.reencryptions;
      done(of.rewritten);
    }

    broker& of;
  };

  std::mutex mutex_;
  std::vector<std::string> trail_;
  std::vector<model::request> asked_;
  std::vector<std::string> names_;
  answering answer_;
  desk desk_{*this};
  std::unique_ptr<server> server_;
};

inline json::document json_of(const raw_answer& answer) {
  auto parsed = json::parse(answer.body);
  REQUIRE_MESSAGE(parsed.ok(), answer.body);
  CHECK(answer.header("Content-Type") == "application/json");
  return std::move(*parsed);
}

/// Checks for an OSB error of that status and returns its description.
inline std::string error_of(const raw_answer& answer, int status, const std::string& code = {}) {
  CHECK(answer.status == status);
  auto body = json_of(answer);
  CHECK(json::string_member(body, "error") == code);
  auto description = json::string_member(body, "description");
  CHECK_FALSE(description.empty());
  return description;
}

inline const std::string here = "/v2/service_instances/one";
inline const std::string binding_path = here + "/service_bindings/b";
inline const std::string incomplete = "?accepts_incomplete=true";
inline const std::string ids = "service_id=service-id&plan_id=plan-id";

/// A provision's body; `more` begins with a comma.
inline std::string body_with(const std::string& more = {}) {
  return R"({"service_id":"service-id","plan_id":"plan-id","organization_guid":"o",)"
         R"("space_guid":"s")"
         + more + "}";
}

} // namespace matriarch::test
