#include "http/admin_routes.hpp"

#include <memory>
#include <utility>

#include "http/admin.hpp"
#include "http/answering.hpp"
#include "http/osb_answers.hpp"

namespace matriarch::http {

void admin_routes::serve(const request& got, reply to) const {
  // The age of the copy since it was last confirmed (RFC 9111, section 5.1).
  if (auto age = desk_.health().etcd_age)
    to.add_header("Age", std::to_string(age->count()));
  if (matches(got, {"admin", "cells"}))
    return got.verb == method::get ? to.send(admin::cells(*desk_.cells()))
                                   : refuse_method(to, "GET");
  if (matches(got, {"admin", "cells", "*", "demote"}))
    return got.verb == method::post ? demote(got.segments[2], std::move(to))
                                    : refuse_method(to, "POST");
  if (matches(got, {"admin", "cells", "*", "forget"}))
    return got.verb == method::post ? forget(got.segments[2], std::move(to))
                                    : refuse_method(to, "POST");
  if (matches(got, {"admin", "routers"}))
    return got.verb == method::get ? to.send(admin::routers(*desk_.routers()))
                                   : refuse_method(to, "GET");
  if (matches(got, {"admin", "orphans"}))
    return got.verb == method::get ? orphans(to) : refuse_method(to, "GET");
  if (matches(got, {"admin", "orphans", "*", "*"}))
    return got.verb == method::del ? remove_orphan(got.segments[2], got.segments[3], std::move(to))
                                   : refuse_method(to, "DELETE");
  if (matches(got, {"admin", "service_instances"}))
    return got.verb == method::get ? to.send(admin::instances(desk_.all()))
                                   : refuse_method(to, "GET");
  if (matches(got, {"admin", "service_instances", "*"}))
    return got.verb == method::get
               ? answer_from(desk_, got.segments[2], std::move(to), admin::instance)
               : refuse_method(to, "GET");
  if (matches(got, {"admin", "service_instances", "*", "rebuild"}))
    return got.verb == method::post ? rebuild(got.segments[2], std::move(to))
                                    : refuse_method(to, "POST");
  if (matches(got, {"admin", "reencrypt"}))
    return got.verb == method::post ? reencrypt(std::move(to)) : refuse_method(to, "POST");
  to.send(osb::error(404, "there is nothing at this path; see /admin/cells, /admin/routers, "
                          "/admin/orphans and /admin/service_instances"));
}

/// Whether this broker is the one that knows; answers if it is not.
bool admin_routes::must_act(reply& to) const {
  auto now = desk_.health();
  if (now.loaded && now.active)
    return true;
  to.send(osb::refusal({model::verdict_kind::unavailable,
                        now.loaded ? "this broker is not the active one; ask the one that is"
                                   : "the broker has not read its instances from etcd yet; try "
                                     "again"}));
  return false;
}

void admin_routes::forget(const std::string& cell, reply to) const {
  if (!must_act(to))
    return;
  auto later = std::make_shared<reply>(std::move(to));
  desk_.forget({cell}, [later, cell](const model::forget_report& report) {
    later->send(admin::forgotten(cell, report));
  });
}

void admin_routes::orphans(reply& to) const {
  if (must_act(to))
    to.send(admin::orphans(*desk_.orphans()));
}

void admin_routes::remove_orphan(const std::string& cell, const std::string& node_id,
                                 reply to) const {
  if (!must_act(to))
    return;
  auto later = std::make_shared<reply>(std::move(to));
  desk_.remove_orphan({cell, node_id}, [later](const model::verdict& said) {
    later->send(said.is == model::verdict_kind::done ? response{200, "{}", {}}
                                                     : osb::refusal(said));
  });
}

void admin_routes::reencrypt(reply to) const {
  // All instances of another broker would fail, and instances that are not loaded would be missing.
  if (!must_act(to))
    return;
  auto later = std::make_shared<reply>(std::move(to));
  desk_.reencrypt_all([later](const model::reencryption_report& report) {
    later->send(admin::reencrypted(report));
  });
}

void admin_routes::rebuild(const std::string& instance_id, reply to) const {
  if (!must_act(to))
    return;
  auto later = std::make_shared<reply>(std::move(to));
  desk_.ask(model::rebuild_request{instance_id, "an operator"}, model::request_patience,
            [later](const model::verdict& said) {
              later->send(said.is == model::verdict_kind::accepted ? admin::rebuilding(said)
                                                                   : osb::refusal(said));
            });
}

void admin_routes::demote(const std::string& cell, reply to) const {
  if (!must_act(to))
    return;
  auto later = std::make_shared<reply>(std::move(to));
  desk_.demote(model::demote_request{cell}, [later, cell](const model::demote_report& report) {
    later->send(admin::demoted(cell, report));
  });
}

} // namespace matriarch::http
