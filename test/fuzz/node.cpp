// What a cell is asked to start, up to the files that Patroni and PostgreSQL are started with.
#include <yaml-cpp/yaml.h>

#include <memory>
#include <utility>

#include "cell/cell_config.hpp"
#include "cell/node_record.hpp"
#include "engines/postgresql/cell/patroni_config.hpp"
#include "engines/postgresql/cell/request.hpp"
#include "engines/postgresql/cell/settings.hpp"
#include "fuzz/fuzz.hpp"

using namespace matriarch;
using namespace matriarch::cell;
using namespace matriarch::engines::postgresql;
using fuzz::must;

namespace {

cell_config some_config() {
  cell_config config;
  config.guid = "cell-1";
  config.data_dir = "/data";
  config.endpoints = *endpoint_pool::of_network("127.77.1.0/24", {5432, 8008});
  config.etcd.machines = {"http://127.0.0.1:2379"};
  auto own = std::make_shared<engines::postgresql::node_settings>();
  own->bin_dir = "/usr/lib/postgresql/15/bin";
  own->parameters = {{"shared_buffers", "16MB"}};
  config.engine = std::move(own);
  return config;
}

void must_say(const YAML::Node& where, const char* name, const std::string& wanted) {
  auto found = where[name];
  must(found && found.IsScalar() && found.Scalar() == wanted, "Patroni gets what was asked for",
       name);
}

void look_at(const node_record& node) {
  auto text = text_of(node);
  fuzz::must_be_json(text);
  auto again = parse_node_record(text, rules_of_requests());
  must(again.ok() && *again == node, "a node's record is read as it was written", text);

  static const auto config = some_config();
  node_paths paths{"/data/nodes/" + node.request.node_id};
  auto yaml = render_patroni(config, node, paths, true);
  YAML::Node read;
  try {
    read = YAML::Load(yaml);
  } catch (const YAML::Exception& wrong) {
    must(false, wrong.what(), yaml);
  }
  must_say(read, "scope", node.request.scope);
  must_say(read, "name", node.request.node_id);
  const auto asked = asked_of(node.request);
  must_say(read["restapi"]["authentication"], "password", asked.patroni.password);
  auto logins = read["postgresql"]["authentication"];
  must_say(logins["superuser"], "username", asked.superuser.username);
  must_say(logins["superuser"], "password", asked.superuser.password);
  must_say(logins["replication"], "password", asked.replication.password);
  must(!render_bootstrap_sql(node.request).empty(), "there is SQL");
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size, 2};
  if (in.which == 0) {
    auto asked = parse_node_request("n1", in.text, rules_of_requests());
    if (!asked) {
      fuzz::must_be_an_error(asked.error());
      return 0;
    }
    look_at({*asked, {"127.77.1.2", 5432, 8008}, std::nullopt, fencing::none, false});
  } else {
    auto node = parse_node_record(in.text, rules_of_requests());
    if (!node) {
      fuzz::must_be_an_error(node.error());
      return 0;
    }
    auto before = json::parse(in.text);
    auto after = json::parse(text_of(*node));
    fuzz::must_agree(*before, *after);
    look_at(*node);
  }
  return 0;
}
