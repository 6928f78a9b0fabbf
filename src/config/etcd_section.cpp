#include "config/etcd_section.hpp"

#include "config/uri.hpp"

namespace matriarch::config {

namespace {

std::vector<std::string> machines_of(const section& from) {
  std::vector<std::string> machines;
  for (const auto& listed : from.texts("machines")) {
    auto machine = without_last_slash(listed);
    const auto scheme = machine.starts_with(https_scheme) ? https_scheme : http_scheme;
    if (const auto fault = fault_of_uri(machine, scheme))
      from.refuse("machines", "each of etcd.machines " + *fault);
    // A list with both schemes is a mistake: it would be unclear when requests are encrypted.
    if (!machines.empty() && !machines.front().starts_with(scheme))
      from.refuse("machines", "etcd.machines must all begin with https://, or all with http://; "
                              "found "
                                  + machines.front() + " and " + machine);
    machines.push_back(std::move(machine));
  }
  if (machines.empty())
    from.refuse("machines",
                "etcd.machines must list at least one URI such as http://127.0.0.1:2379");
  return machines;
}

void read_tls(const section& from, etcd_settings& into) {
  from.allow({"authority", "certificate", "key"});
  if (!into.machines.front().starts_with(https_scheme))
    from.refuse("etcd.tls is for machines whose URI begins with https://; write them so, or leave "
                "tls out");
  if (from.has("authority"))
    into.tls_authority = from.file("authority");
  if (from.has("certificate") != from.has("key"))
    from.refuse(from.has("key") ? "key" : "certificate",
                "etcd.tls needs certificate and key together: the client's certificate and the "
                "key that goes with it");
  if (!from.has("certificate"))
    return;
  into.tls_certificate = from.file("certificate");
  into.tls_key = from.secret_file("key");
}

} // namespace

etcd_settings read_etcd(const section& from) {
  from.allow({"machines", "username", "password", "password_file", "tls"});
  etcd_settings etcd;
  etcd.machines = machines_of(from);
  if (from.has("username")) {
    etcd.username = from.text("username");
    etcd.password = from.secret("password");
  } else if (from.has("password") || from.has("password_file")) {
    from.refuse(from.has("password") ? "password" : "password_file",
                "etcd.username is missing: etcd has no passwords without users");
  }
  if (from.has("tls"))
    read_tls(from.child("tls"), etcd);
  return etcd;
}

} // namespace matriarch::config
