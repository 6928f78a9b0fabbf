// The Open Service Broker API's requests: bodies, and the queries of those without a body.
#include "fuzz/fuzz.hpp"
#include "http/osb_answers.hpp"
#include "http/osb_requests.hpp"
#include "http/request_head.hpp"

using namespace matriarch;
using fuzz::must;

namespace {

constexpr std::size_t codecs = 6;

model::catalog small_catalog() {
  model::plan plain;
  plain.id = "b96d0936-e423-11e5-accb-93d374e93368";
  plain.name = "solo";
  plain.plan_updateable = true;
  model::plan rich = plain;
  rich.id = "4d2a6b5e-7a53-4f0c-9a55-0f0f2f8a7f61";
  rich.name = "cluster";
  rich.binding_rotatable = true;
  rich.maintenance = model::maintenance_info{"1.2.3", "new parameters"};
  rich.provision.binding_lifetime = 3600;
  rich.provision.settings.credentials = model::credentials_mode::per_binding;
  model::service service;
  service.id = "beb5973c-e1b2-11e5-a736-c7c0b526363d";
  service.name = "postgresql";
  service.plan_updateable = true;
  service.allow_context_updates = true;
  service.plans = {plain, rich};
  return {{service}};
}

std::vector<model::cell_view> some_cells() {
  std::vector<model::cell_view> cells(3);
  for (std::size_t i = 0; i < cells.size(); ++i)
    cells[i].guid = "cell-" + std::to_string(i + 1);
  return cells;
}

void must_be_a_refusal(const http::response& said) {
  must(said.status == 400 || said.status == 422, "a bad request is answered with 400 or 422");
  fuzz::must_be_json(said.body);
  auto body = json::parse(said.body);
  fuzz::must_be_an_error(json::string_member(*body, "description"));
}

void must_be_canonical(const std::string& text) {
  auto read = json::parse(text, 200);
  must(read.ok() && read->IsObject(), "what is kept is a JSON object", text);
  must(json::canonical_text_of(*read) == text, "what is kept is canonical", text);
}

void look_at(const model::provision_request& asked) {
  must(!asked.service_id.empty() && !asked.plan_id.empty(), "the ids are there");
  must_be_canonical(asked.parameters);
  must_be_canonical(asked.context);
  must(asked.desired.node_count >= 1 && asked.desired.node_count <= 3,
       "the nodes fit on the cells");
  must(asked.desired.cells.empty()
           || asked.desired.cells.size() >= static_cast<std::size_t>(asked.desired.node_count),
       "there are cells enough");
}

void look_at(const model::update_request& asked) {
  if (asked.context)
    must_be_canonical(*asked.context);
}

void look_at(const model::bind_request& asked) {
  must_be_canonical(asked.wanted.parameters);
}

void look_at(const model::deprovision_request&) {}
void look_at(const model::unbind_request&) {}

template <class Request>
void look_at(const http::osb::checked<Request>& outcome) {
  if (const auto* refused = std::get_if<http::response>(&outcome))
    must_be_a_refusal(*refused);
  else
    look_at(std::get<http::osb::parsed<Request>>(outcome).asked);
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto catalog = small_catalog();
  static const auto cells = some_cells();
  static const http::parameter_schemas schemas{cells.size()};
  fuzz::input in{data, size, 2 * codecs};
  http::osb::rules rules{catalog, cells, schemas, in.which < codecs};

  // The general properties of the JSON parser come along.
  if (auto read = json::parse(in.text)) {
    auto text = json::text_of(*read);
    fuzz::must_be_json(text);
    auto canonical = json::canonical_text_of(*read);
    auto again = json::parse(canonical);
    must(again.ok() && json::canonical_text_of(*again) == canonical, "canonical stays canonical",
         canonical);
    must(*again == *read, "canonical means the same", canonical);
  } else {
    fuzz::must_be_an_error(read.error());
  }

  http::request got;
  switch (in.which % codecs) {
  case 3:
  case 4: {
    auto head = http::read_head("DELETE /v2/service_instances/a?" + std::string{in.text}
                                + " HTTP/1.1\r\nHost: localhost");
    if (std::holds_alternative<http::refusal>(head))
      return 0;
    got = std::get<http::request_head>(std::move(head)).content;
    break;
  }
  default:
    got.body = in.text;
    got.headers.emplace_back("content-type", "application/json");
    got.query.emplace_back("accepts_incomplete", "true");
  }
  switch (in.which % codecs) {
  case 0:
    look_at(http::osb::provision(got, "a", rules));
    break;
  case 1:
    look_at(http::osb::update(got, "a", rules));
    break;
  case 2:
    look_at(http::osb::bind(got, "a", "b", rules));
    break;
  case 3:
    look_at(http::osb::deprovision(got, "a", rules));
    break;
  case 4:
    look_at(http::osb::unbind(got, "a", "b", rules));
    break;
  default: {
    // What etcd holds of an instance is shown as it stands.
    model::instance_snapshot known;
    known.known.parameters = known.known.context = in.text;
    known.known.current.description = legible(in.text, 500);
    known.known.current.state = model::operation_state::failed;
    fuzz::must_be_json(http::osb::instance(known).body);
    fuzz::must_be_json(http::osb::last_operation(known).body);
  }
  }
  return 0;
}
