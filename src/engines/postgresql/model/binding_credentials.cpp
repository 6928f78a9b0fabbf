#include "engines/postgresql/model/binding_credentials.hpp"

#include <string>
#include <utility>

#include "base/percent_encoding.hpp"

namespace matriarch::engines::postgresql {

json::value binding_credentials(const model::way_in& how, json::document& owner) {
  const auto& host = how.host;
  bool is_ipv6 = host.find(':') != std::string::npos;
  auto place = (is_ipv6 ? "[" + host + "]" : host) + ":" + std::to_string(how.port) + "/"
               + model::application_database;
  auto name = base::percent_encoded(how.user.username);
  auto password = base::percent_encoded(how.user.password);
  json::value object{rapidjson::kObjectType};
  // Some drivers know only this scheme.
  json::add(object, "uri", "postgresql://" + name + ":" + password + "@" + place, owner);
  json::add(object, "jdbcUrl",
            "jdbc:postgresql://" + place + "?user=" + name + "&password=" + password, owner);
  // Libraries that read bindings themselves look for either of these names.
  for (const auto* name_of_host : {"host", "hostname"})
    json::add(object, name_of_host, host, owner);
  json::add(object, "port", how.port, owner);
  for (const auto* name_of_database : {"name", "database", "dbname"})
    json::add(object, name_of_database, model::application_database, owner);
  json::add(object, "username", how.user.username, owner);
  json::add(object, "password", how.user.password, owner);
  if (!how.authority.empty())
    json::add(object, "ca_certificate", how.authority, owner);
  return object;
}

} // namespace matriarch::engines::postgresql
