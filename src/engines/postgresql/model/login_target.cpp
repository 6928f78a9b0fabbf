#include "engines/postgresql/model/login_target.hpp"

#include <algorithm>
#include <cstddef>

#include "model/addresses.hpp"

namespace matriarch::engines::postgresql {

/// Nodes of Matriarch cells speak TLS and know their own password's verifier: without a certificate
/// to check, SCRAM channel binding ties the password to the connection, so that nobody in between
/// can pass it on. A certified node must show a certificate that names it. What foreign cells'
/// nodes do is not known.
std::string login_url(const model::node_addresses& at, const std::string& node_id, bool ours) {
  auto url = "postgres://" + at.database + "/" + maintenance_database;
  if (!at.certified)
    return ours ? url + "?sslmode=require&channel_binding=require" : url;
  auto port = at.database.substr(at.database.rfind(':'));
  return "postgres://" + node_id + port + "/" + maintenance_database
         + "?hostaddr=" + std::string{model::host_of(at.database)} + "&sslmode=verify-full";
}

std::optional<login_target> login_target_in(std::string_view url) {
  auto place = model::place_in(url);
  if (!model::is_place(place))
    return std::nullopt;
  login_target target{std::string{model::host_of(place)},
                      std::string{place.substr(place.rfind(':') + 1)}};
  auto question = url.find('?');
  while (question != std::string_view::npos) {
    url.remove_prefix(question + 1);
    question = url.find('&');
    auto setting = url.substr(0, question);
    auto name = setting.substr(0, setting.find('='));
    auto value = setting.substr(std::min(name.size() + 1, setting.size()));
    if (name == "hostaddr" && model::is_host(value))
      target.address = value;
    else if (name == "sslmode" && (value == "require" || value == "verify-full"))
      target.sslmode = value;
    else if (name == "channel_binding" && value == "require")
      target.channel_binding = value;
    else
      return std::nullopt;
  }
  return target;
}

} // namespace matriarch::engines::postgresql
