// The configurations of broker, cell and router.
#include <algorithm>
#include <stdlib.h>

#include "cell/cell_config.hpp"
#include "config/broker_config.hpp"
#include "engines/postgresql/cell/settings.hpp"
#include "engines/postgresql/model/decisions.hpp"
#include "fuzz/fuzz.hpp"
#include "router/router_config.hpp"

using namespace matriarch;
using fuzz::must;

namespace {

const std::string path = "conf/some.yml";

void must_be_a_complaint(const std::string& text) {
  must(text.starts_with(path + ":"), "a complaint names the file", text);
  must(!text.empty() && text.find('\n') == std::string::npos, "a complaint is one line", text);
}

void must_be_etcd(const config::etcd_settings& etcd) {
  must(!etcd.machines.empty(), "there is an etcd");
  for (const auto& machine : etcd.machines)
    must(machine.starts_with("http://") || machine.starts_with("https://"), "etcd has a URI",
         machine);
  must(etcd.username.empty() == etcd.password.empty(), "a user has a password");
}

const model::engine_list known_engines{{&engines::postgresql::decisions()}};

void read_broker(const std::string& text) {
  auto read = config::parse_broker_config(path, text, "32768\t60999\n", known_engines);
  if (!read)
    return must_be_a_complaint(read.error());
  must(!read->broker.users.empty(), "somebody may log in");
  for (const auto& user : read->broker.users)
    must(user.token.empty() ? !user.username.empty() && !user.password.empty()
                            : user.username.empty() && user.password.empty(),
         "nobody logs in with nothing");
  must(!read->cells.empty(), "there is a cell");
  must(read->routing.first <= read->routing.last, "there is a port");
  must(!read->catalog.services.empty(), "there is a service");
  for (const auto& service : read->catalog.services) {
    must(!service.id.empty() && !service.plans.empty(), "a service has plans");
    for (const auto& plan : service.plans) {
      must(plan.provision.node_count >= 1
               && plan.provision.node_count <= static_cast<int>(read->cells.size()),
           "a plan's nodes fit on the cells");
      must(read->catalog.find_service(service.id)->find_plan(plan.id) == &plan, "ids are unique",
           plan.id);
    }
  }
  must_be_etcd(read->etcd);
}

void read_cell(const std::string& text) {
  auto read = cell::parse_cell_config(path, text, engines::postgresql::file_sections());
  if (!read)
    return must_be_a_complaint(read.error());
  const auto& config = read->config;
  must(config.endpoints.size() > 0 && config.capacity > 0, "there is room for a node");
  (void)config.endpoints.at(config.endpoints.size() - 1);
  must(engines::postgresql::settings_of(config).patroni.retry_timeout >= 2,
       "Patroni can elect a leader");
  must_be_etcd(config.etcd);
}

void read_router(const std::string& text) {
  auto read = router::parse_router_config(path, text);
  if (!read)
    return must_be_a_complaint(read.error());
  must(read->maxconn > 0 && read->check_interval.count() > 0, "limits are positive");
  must_be_etcd(read->etcd);
}

} // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  setenv("PASSWORD", "of the environment", 1);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::input in{data, size, 3};
  std::string text{in.text};
  // A configuration names files of the operator's; no fuzzer should open a device, or wait for one.
  if (text.find("/dev") != std::string::npos || text.find("/proc") != std::string::npos)
    return 0;
  if (in.which == 0)
    read_broker(text);
  else if (in.which == 1)
    read_cell(text);
  else
    read_router(text);
  return 0;
}
