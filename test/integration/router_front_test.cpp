#include "router_platform.hpp"

#include "certificates.hpp"
#include "router/certificate.hpp"

namespace matriarch::router {

namespace {

/// Pretends to be a broker.
class fake_broker {
public:
  explicit fake_broker(std::string name)
      : name_(std::move(name)), server_({}, [this](auto got, auto to) {
          auto is_check = got.segments == std::vector<std::string>{"healthz"};
          if (got.segments == std::vector<std::string>{"forwarded"}) {
            auto* forwarded = got.header("x-forwarded-for");
            to.send({200, forwarded == nullptr ? "" : *forwarded, {}});
            return;
          }
          bool asks_for_active = got.query_value("active") != nullptr;
          to.send({is_check && asks_for_active && !active_ ? 503 : 200, name_, {}});
        }) {
    if (auto error = server_.start())
      throw std::runtime_error{*error};
  }
  void acts(bool now) { active_ = now; }
  [[nodiscard]] std::string address() const {
    return "'127.0.0.1:" + std::to_string(server_.port()) + "'";
  }

private:
  std::string name_;
  std::atomic<bool> active_ = false;
  http::server server_;
};

/// A directory that is removed with this object.
class scratch_directory {
public:
  scratch_directory() {
    auto pattern = (std::filesystem::temp_directory_path() / "matriarch-router-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr)
      throw std::runtime_error{"cannot make a temporary directory"};
    path_ = pattern;
  }
  ~scratch_directory() { std::filesystem::remove_all(path_); }
  scratch_directory(const scratch_directory&) = delete;
  scratch_directory& operator=(const scratch_directory&) = delete;

  [[nodiscard]] const std::filesystem::path& path() const { return path_; }
  [[nodiscard]] std::filesystem::path sub(const std::string& name) const {
    std::filesystem::create_directory(path_ / name);
    return path_ / name;
  }

private:
  std::filesystem::path path_;
};

} // namespace

TEST_CASE("the router leads to the active broker, or to its standby while no broker acts") {
  fake_broker one{"one"}, two{"two"};
  auto port = free_port();
  platform all{"broker: {listen: " + std::to_string(port) + ", servers: [" + one.address() + ", "
               + two.address() + "]}\n"};
  two.acts(true);
  all.start();
  CHECK(eventually([&] { return all.fetch(port, "/").body == "two"; }));
  two.acts(false);
  CHECK(eventually([&] { return all.fetch(port, "/").body == "one"; }));
  two.acts(true);
  CHECK(eventually([&] { return all.fetch(port, "/").body == "two"; }));
  CHECK(all.status().routes == 0);
}

TEST_CASE("a broker learns the client's address only from the router") {
  fake_broker one{"one"};
  one.acts(true);
  auto port = free_port();
  platform all{"broker: {listen: " + std::to_string(port) + ", servers: [" + one.address()
               + "]}\n"};
  all.start();
  CHECK(eventually([&] { return all.fetch(port, "/").body == "one"; }));
  CHECK(all.fetch(port, "/forwarded").body == "127.0.0.1");
}

TEST_CASE("the brokers' port speaks only TLS, and uses a renewed certificate") {
  scratch_directory files;
  test::certificates first{files.sub("first")}, second{files.sub("second")};
  // As a program that renews certificates does: each file is replaced as a whole, one after the
  // other.
  auto install = [&](const std::string& from, const std::string& name) {
    std::filesystem::copy_file(from, files.path() / (name + ".new"));
    std::filesystem::rename(files.path() / (name + ".new"), files.path() / name);
  };
  install(first.server(), "broker.pem");
  install(first.server_key(), "broker.key");
  fake_broker one{"one"};
  one.acts(true);
  auto port = free_port();
  platform all{"broker: {listen: " + std::to_string(port) + ", servers: [" + one.address()
               + "], tls: {certificate: " + (files.path() / "broker.pem").string()
               + ", key: " + (files.path() / "broker.key").string() + "}}\n"};
  all.start();
  auto body_by = [&](const test::certificates& trusted) {
    return all.fetch(port, "/", "https", trusted.authority()).body;
  };
  CHECK(eventually([&] { return body_by(first) == "one"; }));
  CHECK(all.fetch(port, "/").body != "one");
  CHECK(all.fetch(port, "/").status / 100 != 2);
  // It holds the key.
  CHECK((std::filesystem::status(all.directory() / "data/broker.pem").permissions()
         & std::filesystem::perms::all)
        == (std::filesystem::perms::owner_read | std::filesystem::perms::owner_write));

  // A certificate without its key, however long the router looks: nothing changes.
  install(second.server(), "broker.pem");
  CHECK(eventually([&] { return all.has_logged("stays the old one"); }));
  CHECK(body_by(first) == "one");
  install(second.server_key(), "broker.key");
  CHECK(eventually([&] { return body_by(second) == "one"; }));
  // The worker from before the reload may have one more connection in its queue.
  CHECK(eventually([&] { return body_by(first).empty(); }));
}

TEST_CASE("a certificate is accepted only with its key") {
  scratch_directory files;
  test::certificates made{files.path()};
  auto error = [](const std::string& certificate, const std::string& key) {
    auto read = read_certificate(certificate, key);
    return read ? "no error" : read.error();
  };
  auto both = read_certificate(made.server(), made.server_key());
  REQUIRE_MESSAGE(both.ok(), both.error());
  auto one_file = (files.path() / "both.pem").string();
  std::ofstream{one_file} << *both;
  CHECK(error(one_file, "") == "no error");
  CHECK(error(made.server(), made.client_key())
        == "the key in " + made.client_key() + " is not that of the first certificate in "
               + made.server());
  CHECK(error(made.server(), "")
        == made.server() + " holds no key in PEM that can be read without a passphrase");
  CHECK(error(made.server_key(), "") == made.server_key() + " holds no certificate in PEM");
  CHECK(error("/nonexistent", "") == "/nonexistent cannot be read: No such file or directory");
}

} // namespace matriarch::router
