#include "tls/authorities.hpp"

#include <algorithm>

#include "model/times.hpp"

namespace matriarch::tls {

namespace {

/// From a day before to the end of a life, but not beyond who signs it.
validity server_validity(const authority& by, model::wall_time now) {
  return {now - backdated, std::min<model::wall_time>(now + server_life, by.until)};
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
    auto day = model::text_of(now).substr(0, 10);
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

result<std::string> certify(const authorities& by, const std::string& request, const subject& whom,
                            model::wall_time now) {
  const auto* signer = by.signer(now);
  if (signer == nullptr)
    return failure{"no authority can sign now: the certificate of each has ended"};
  return sign(request, whom, server_validity(*signer, now), signer->pair);
}

bool is_to_be_renewed(const std::string& certificate, const std::set<std::string>& hosts,
                      const authorities& by, model::wall_time now) {
  const auto* signer = by.signer(now);
  if (signer == nullptr)
    return false;
  auto said = describe(certificate);
  if (!said || said->hosts != hosts || !is_signed_by(certificate, signer->pair.certificate))
    return true;
  const auto& valid = said->valid;
  bool old = now - valid.from >= (valid.until - valid.from) * 2 / 3;
  // When who signs ends soon, so does whatever it signs: not each look makes another then.
  return old && server_validity(*signer, now).until - valid.until >= std::chrono::days{1};
}

} // namespace matriarch::tls
