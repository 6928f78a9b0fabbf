#include "tls/authorities.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <array>
#include <cctype>

#include <fmt/format.h>

#include "base/times.hpp"
#include "base/utf8.hpp"
#include "model/names.hpp"

namespace matriarch::tls {

namespace {

/// From a day before to the end of a life, but not beyond who signs it.
validity server_validity(const authority& by, model::wall_time now) {
  return {now - backdated, std::min<model::wall_time>(now + server_life, by.until)};
}

/// As a certificate says them: an address can be written in several ways.
std::set<std::string> as_certified(const std::set<std::string>& hosts) {
  std::set<std::string> all;
  for (const auto& host : hosts) {
    std::array<unsigned char, sizeof(in6_addr)> bytes{};
    std::array<char, INET6_ADDRSTRLEN> text{};
    bool six = ::inet_pton(AF_INET6, host.c_str(), bytes.data()) == 1;
    all.insert(six && ::inet_ntop(AF_INET6, bytes.data(), text.data(), text.size()) != nullptr
                   ? text.data()
                   : host);
  }
  return all;
}

/// Below it are all names of cells.
constexpr std::string_view cells_domain = ".cell.matriarch";

/// Whether a client that looks for a cell could be content with this name, however it is written.
bool may_be_a_cells(std::string host) {
  for (auto& c : host)
    c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  while (host.ends_with('.'))
    host.pop_back();
  return host.ends_with(cells_domain) || host.find('*') != std::string::npos;
}

} // namespace

const authority* authorities::signer(model::wall_time now) const {
  const authority* found = nullptr;
  for (const auto& one : all) {
    if (one.until <= now || one.pair.key.empty())
      continue;
    // The first there is has nobody to wait for.
    if (found == nullptr || one.shown_since + standing <= now)
      found = &one;
  }
  return found;
}

std::string authorities::shown(model::wall_time now) const {
  std::string text;
  for (const auto& one : all)
    if (one.until > now)
      text += one.pair.certificate;
  return text;
}

std::string authorities::trusted(model::wall_time now) const {
  return shown(now) + retiring;
}

std::string retiring_of(std::string_view told, const authorities& now_are, model::wall_time now) {
  auto shown = certificates_in(now_are.shown(now));
  std::string text;
  for (const auto& one : certificates_in(told)) {
    auto said = describe(one);
    if (said && said->valid.until > now && std::ranges::find(shown, one) == shown.end())
      text += one;
  }
  return text;
}

result<std::optional<authorities>> next_of(const authorities& now_are, model::wall_time now) {
  auto next = now_are;
  auto ended = std::erase_if(next.all, [&](const authority& one) { return one.until <= now; });
  bool another = next.all.empty() || next.all.back().until - now <= succession;
  if (ended == 0 && !another)
    return std::optional<authorities>{};
  if (another) {
    // Certificates know seconds: what is written down is what they say.
    auto until = std::chrono::floor<std::chrono::seconds>(now + authority_life);
    // The day tells them apart, for people and for programs that look for an authority by its name.
    auto day = base::text_of(now).substr(0, 10);
    auto made = make_authority("Matriarch fleet authority of " + day, {now - backdated, until});
    if (!made)
      return failure{made.error()};
    next.all.push_back({*std::move(made), now, until});
  }
  return std::optional{std::move(next)};
}

result<authorities> operators_authority(const key_pair& signs, const std::string& successors) {
  auto own = describe(signs.certificate);
  if (!own)
    return failure{"authority.certificate: " + own.error()};
  if (!own->may_sign)
    return failure{"authority.certificate is not an authority's: it lacks CA:TRUE, so that nobody "
                   "would take what it signs"};
  if (!belong_together(signs))
    return failure{"authority.key is no key in PEM that can be read without a passphrase, or not "
                   "that of the first certificate in authority.certificate"};
  authorities all;
  // Clients have to know it up to the root.
  std::string chain;
  for (const auto& one : certificates_in(signs.certificate))
    chain += one;
  all.all.push_back({{signs.key, std::move(chain)}, {}, own->valid.until});
  auto later = certificates_in(successors);
  if (!successors.empty() && later.empty())
    return failure{"authority.successor: there is no certificate in PEM"};
  for (const auto& one : later) {
    auto said = describe(one);
    if (!said)
      return failure{"authority.successor: " + said.error()};
    all.all.push_back({{"", one}, {}, said->valid.until});
  }
  return all;
}

result<std::string> certify_cell(const authorities& by, const std::string& request,
                                 const subject& whom, model::wall_time now) {
  const auto* signer = by.signer(now);
  if (signer == nullptr)
    return failure{"no authority can sign now: the certificate of each has ended"};
  return sign(request, whom, server_validity(*signer, now), signer->pair);
}

result<std::string> certify(const authorities& by, const std::string& request, const subject& whom,
                            model::wall_time now) {
  for (const auto& host : whom.hosts)
    if (may_be_a_cells(host))
      return failure{"a node cannot be called " + matriarch::quoted(host)
                     + ", for a cell could be"};
  return certify_cell(by, request, whom, now);
}

std::string cell_host(const std::string& guid) {
  // One label of a host's name: 63 characters at most, and upper case is lower case.
  constexpr std::size_t longest = 60;
  std::string label;
  for (unsigned char c : guid)
    if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')
      label += static_cast<char>(c);
    else
      label += fmt::format("_{:02x}", c);
  if (label.size() > longest)
    label = "_" + model::start_of_sha256(guid, 40);
  return label + std::string{cells_domain};
}

bool is_to_be_renewed(const std::string& certificate, const std::set<std::string>& hosts,
                      const authorities& by, model::wall_time now) {
  const auto* signer = by.signer(now);
  if (signer == nullptr)
    return false;
  auto said = describe(certificate);
  if (!said || said->hosts != as_certified(hosts)
      || !is_signed_by(certificate, signer->pair.certificate))
    return true;
  const auto& valid = said->valid;
  bool old = now - valid.from >= (valid.until - valid.from) * 2 / 3;
  // When who signs ends soon, so does whatever it signs: not each look makes another then.
  return old && server_validity(*signer, now).until - valid.until >= std::chrono::days{1};
}

} // namespace matriarch::tls
