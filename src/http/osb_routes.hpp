#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "http/audit.hpp"
#include "http/catalog_page.hpp"
#include "http/front_desk.hpp"
#include "http/osb_bindings.hpp"
#include "http/osb_requests.hpp"
#include "http/routes.hpp"
#include "http/tenant_answers.hpp"

namespace matriarch::http {

/// The Open Service Broker API: everything under `/v2`. Requests without access do not get here.
class osb_routes : public std::enable_shared_from_this<osb_routes> {
public:
  osb_routes(std::shared_ptr<const route_settings> settings, front_desk& desk);

  void serve(const std::shared_ptr<const request>& whole, reply to);

private:
  using later = std::shared_ptr<reply>;

  void route(const request& got, reply to);
  [[nodiscard]] std::optional<response> refuse_version(const request& got) const;
  [[nodiscard]] std::optional<response> answered_before(const request& got) const;

  void instance(const request& got, const std::string& id, reply to);
  void binding(const request& got, const std::string& id, const std::string& binding_id, reply to);

  void last_operation(const request& got, reply to) const;
  void binding_last_operation(const request& got, reply to) const;
  void fetch_binding(const std::string& id, const std::string& binding_id, reply to) const;
  [[nodiscard]] std::optional<response> refuse_credentials() const;
  [[nodiscard]] osb::binding_view view(const model::instance_snapshot& known,
                                       const model::binding& which) const;

  template <class Parse, class Then>
  void parse(const request& got, reply to, Parse read, Then then);
  template <class Request>
  void start(osb::parsed<Request> read, int on_success, later to) const;
  void wait_for_end(const std::string& id, const std::string& operation_id, int on_success,
                    later to) const;
  void bind(model::bind_request asked, later to) const;
  void unbind(model::unbind_request asked, later to) const;

  std::shared_ptr<const route_settings> settings_;
  front_desk& desk_;
  catalog_pages pages_;
  tenant_answers for_tenants_;
};

} // namespace matriarch::http
