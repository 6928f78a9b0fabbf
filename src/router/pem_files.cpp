#include "router/pem_files.hpp"

#include <fstream>
#include <sstream>
#include <utility>

#include <spdlog/spdlog.h>

#include "router/certificate.hpp"
#include "router/haproxy.hpp"

namespace matriarch::router {

void pem_files::remember_authority() {
  std::ifstream file{authority_path(settings_)};
  std::ostringstream text;
  text << file.rdbuf();
  texts_.fleet = certificates_in(text.str());
}

void pem_files::take_up_authority(const std::string& told) {
  auto pem = certificates_in(told);
  if (pem.empty() || pem == texts_.fleet)
    return;
  if (auto wrong = write_private_file(authority_path(settings_), pem))
    return spdlog::error("members are still checked by the previous authority: {}", *wrong);
  spdlog::info("members are checked by the fleet's authority{}",
               texts_.fleet.empty() ? "" : ", which has changed");
  texts_.fleet = std::move(pem);
}

bool pem_files::take_up_certificate() {
  auto pem = read_certificate(settings_.broker->tls_certificate, settings_.broker->tls_key);
  if (pem && *pem == texts_.broker)
    return false;
  auto wrong =
      pem ? write_private_file(certificate_path(settings_), *pem) : std::optional{pem.error()};
  if (wrong != certificate_error_ && wrong)
    spdlog::error("the certificate of the brokers' port stays the old one: {}", *wrong);
  certificate_error_ = wrong;
  if (wrong)
    return false;
  if (!texts_.broker.empty())
    spdlog::info("the brokers' port gets its new certificate");
  texts_.broker = *pem;
  return true;
}

} // namespace matriarch::router
