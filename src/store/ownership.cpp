#include "store/ownership.hpp"

#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <future>
#include <memory>
#include <utility>

#include <fmt/format.h>
#include <openssl/rand.h>

#include "base/files.hpp"

namespace matriarch::store {

namespace {

constexpr std::size_t identity_bytes = 16; // like a UUID

std::string random_identity() {
  std::array<unsigned char, identity_bytes> bytes{};
  if (RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) != 1)
    return {};
  std::string text;
  for (auto byte : bytes)
    text += fmt::format("{:02x}", byte);
  return text;
}

} // namespace

result<std::string> identity_in(const std::string& data_dir) {
  auto path = data_dir + "/identity";
  std::string known;
  if (std::ifstream{path} >> known)
    return known;
  auto fresh = random_identity();
  if (fresh.empty())
    return failure{fmt::format("cannot write {}: OpenSSL gives no random bytes", path)};
  if (auto wrong = base::write_durably(path, fresh + "\n", {::geteuid(), ::getegid()}))
    return failure{*wrong};
  return fresh;
}

result<std::optional<std::string>> known_identity_in(const std::string& data_dir) {
  auto path = data_dir + "/identity";
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0 && (errno == ENOENT || errno == ENOTDIR))
    return std::optional<std::string>{};
  std::string known;
  if (std::ifstream{path} >> known)
    return std::optional{known};
  return failure{fmt::format("{} cannot be read by this user", path)};
}

std::optional<std::string> value_now(etcd_client& etcd, const std::string& key) {
  auto answered = std::make_shared<std::promise<range_result>>();
  etcd.range({key, ""}, [answered](range_result came) { answered->set_value(std::move(came)); });
  auto came = answered->get_future().get(); // comes within the client's time-out
  if (came.found.empty())
    return std::nullopt;
  return std::move(came.found.front().value);
}

std::optional<std::string> other_owner(etcd_client& etcd, const owned_key& what) {
  auto value = value_now(etcd, what.key);
  return value ? what.other_owner(*value) : std::nullopt;
}

void taken_later::note(const std::string& who) {
  std::lock_guard guard{mutex_};
  if (!std::exchange(who_, who))
    ::kill(::getpid(), signal_);
}

std::optional<std::string> taken_later::who() {
  std::lock_guard guard{mutex_};
  return who_;
}

} // namespace matriarch::store
