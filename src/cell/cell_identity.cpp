#include "cell/cell_identity.hpp"

#include <unistd.h>

#include <spdlog/spdlog.h>

#include "base/files.hpp"
#include "store/cell_json.hpp"
#include "store/keys.hpp"
#include "tls/authorities.hpp"

namespace matriarch::cell {

namespace {

// For the certificate that is shown until a signed one comes; nobody checks when it ends.
constexpr std::chrono::days unchecked_life{10 * 365};

model::wall_time now() {
  return std::chrono::floor<model::duration>(std::chrono::system_clock::now());
}

} // namespace

result<std::unique_ptr<cell_identity>> cell_identity::open(const cell_config& config) {
  std::unique_ptr<cell_identity> made{new cell_identity{config}};
  if (auto wrong = made->load(config))
    return failure{*wrong};
  return made;
}

std::optional<std::string> cell_identity::load(const cell_config& config) {
  if (!config.tls.certificate.empty()) {
    has_ = config.tls;
    if (auto wrong = shown_->show(has_))
      return "cell.tls: " + *wrong;
    shown_->refuse_plain(!plain_http_);
    return std::nullopt;
  }
  auto there = base::read_file(file_);
  if (!there)
    return there.error();
  if (*there)
    has_ = {**there, **there};
  // A damaged file is replaced: nothing in it is irreplaceable.
  if (!*there || !tls::belong_together(has_) || shown_->show(has_))
    if (auto wrong = make())
      return wrong;
  auto request = tls::make_request(has_.key);
  if (!request)
    return request.error();
  request_ = *std::move(request);
  return std::nullopt;
}

std::optional<std::string> cell_identity::make() {
  auto made = tls::make_unchecked({guid_.substr(0, 64), {tls::cell_host(guid_)}},
                                  {now() - tls::backdated, now() + unchecked_life});
  if (!made)
    return made.error();
  if (auto wrong =
          base::write_durably(file_, made->certificate + made->key, {geteuid(), getegid()}))
    return wrong;
  has_ = *std::move(made);
  return shown_->show(has_);
}

void cell_identity::start(store::etcd_client& etcd) {
  if (request_.empty())
    return;
  store::follower::listener tell;
  tell.listed = [this](const store::listing_page& page) {
    for (const auto& entry : page.found)
      take(entry.value);
  };
  tell.changed = [this](const std::vector<store::change>& changes, store::revision) {
    for (const auto& one : changes)
      if (one.what == store::change::kind::put)
        take(one.entry.value);
  };
  tell.reachable = [](bool so, const std::string& why) {
    if (!so)
      spdlog::warn("certificates for this cell cannot be read in etcd: {}", why);
  };
  answers_ = std::make_unique<store::follower>(
      etcd, store::key_range{store::keys::cell_certificate(guid_), {}}, std::move(tell),
      store::follower::options{});
}

void cell_identity::take(const std::string& text) {
  auto word = store::decode_cell_word(text);
  if (!word)
    return spdlog::warn("{} cannot be read and is ignored", store::keys::cell_certificate(guid_));
  bool refuse = !plain_http_ && !word->plain_http;
  if (refuse != shown_->refuses_plain())
    spdlog::info("plain HTTP is {} here: brokers come by {}", refuse ? "refused" : "taken",
                 word->plain_http ? "it" : "TLS");
  shown_->refuse_plain(refuse);
  take_certificate(word->certificate);
}

void cell_identity::take_certificate(const std::string& certificate) {
  if (has_.certificate.starts_with(certificate))
    return;
  // The certificate is for another key, perhaps this cell's own before its disk was lost: the
  // broker will sign again.
  if (!tls::belong_together({has_.key, certificate}))
    return;
  tls::key_pair next{has_.key, certificate};
  if (auto wrong = shown_->show(next))
    return spdlog::error("the cell's certificate: {}", *wrong);
  has_ = std::move(next);
  spdlog::info("the cell has a new certificate of the fleet's authority");
  // etcd keeps the certificate anyway, for the next start of the agent.
  if (auto wrong = base::write_durably(file_, has_.certificate + has_.key, {geteuid(), getegid()}))
    spdlog::error("the cell's certificate cannot be kept: {}", *wrong);
}

} // namespace matriarch::cell
