#include <doctest/doctest.h>

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "config/etcd_section.hpp"

using matriarch::config::config_error;
using matriarch::config::etcd_settings;
using matriarch::config::read_etcd;
using matriarch::config::section;

namespace {

etcd_settings read(const std::string& text) {
  return read_etcd(section::parse_text("f.yml", text).child("etcd"));
}

std::string error_of(const std::string& text) {
  try {
    (void)read(text);
  } catch (const config_error& error) {
    return error.message;
  }
  return "no error";
}

const std::string machines =
    "etcd:\n  machines: [https://10.0.0.1:2379, 'https://10.0.0.2:2379/']\n";

} // namespace

TEST_CASE("etcd is its machines, with or without TLS") {
  const auto plain = read("etcd: {machines: ['http://127.0.0.1:2379/']}\n");
  CHECK(plain.machines == std::vector<std::string>{"http://127.0.0.1:2379"});
  CHECK(plain.username.empty());
  CHECK(plain.tls_authority.empty());
  CHECK(read(machines).machines
        == std::vector<std::string>{"https://10.0.0.1:2379", "https://10.0.0.2:2379"});
}

TEST_CASE("etcd's user and TLS files are read") {
  const auto path =
      (std::filesystem::temp_directory_path() / ("matriarch-etcd-" + std::to_string(::getpid())))
          .string();
  std::ofstream(path) << "from the file\n";
  const auto etcd =
      read(machines + "  username: root\n  password_file: " + path + "\n  tls: {authority: " + path
           + ", certificate: " + path + ", key: " + path + "}\n");
  CHECK(etcd.username == "root");
  CHECK(etcd.password == "from the file");
  CHECK(etcd.tls_authority == path);
  CHECK(etcd.tls_certificate == path);
  CHECK(etcd.tls_key == path);
  CHECK(error_of(machines + "  tls: {certificate: " + path + "}\n")
            .starts_with("f.yml:3: etcd.tls needs certificate and key together"));
  CHECK(error_of(machines + "  tls: {key: " + path + "}\n")
            .starts_with("f.yml:3: etcd.tls needs certificate and key together"));
  std::filesystem::remove(path);
  CHECK(error_of(machines + "  tls: {authority: " + path + "}\n")
        == "f.yml:3: etcd.tls.authority: the file " + path
               + " cannot be read: No such file or directory");
}

TEST_CASE("etcd's machines are URIs of one scheme") {
  CHECK(error_of("etcd: {machines: []}\n")
            .starts_with("f.yml:1: etcd.machines must list at least one URI"));
  CHECK(error_of("etcd: {machines: ['http://a:1', 'https://b:1']}\n")
        == "f.yml:1: etcd.machines must all begin with https://, or all with http://; found "
           "http://a:1 and https://b:1");
  CHECK(error_of("etcd: {machines: ['10.0.0.1:2379']}\n").find("must be a URI such as")
        != std::string::npos);
  CHECK(error_of("etcd: {machines: ['https://h:0']}\n").find("from 1 to 65535")
        != std::string::npos);
  const auto secret = error_of("etcd: {machines: ['https://user:hunter2@h:1']}\n");
  CHECK(secret.find("must not contain a user or a password") != std::string::npos);
  CHECK(secret.find("hunter2") == std::string::npos);
}

TEST_CASE("half of etcd's user, or TLS over plain HTTP, is a mistake") {
  CHECK(error_of(machines + "  username: root\n").starts_with("f.yml:1: etcd.password is missing"));
  CHECK(error_of(machines + "  password: hunter2\n")
        == "f.yml:3: etcd.username is missing: etcd has no passwords without users");
  CHECK(error_of("etcd:\n  machines: ['http://h:1']\n  tls: {authority: /x}\n")
            .starts_with("f.yml:3: etcd.tls is for machines whose URI begins with https://"));
  CHECK(error_of(machines + "  tls: {ca: /x}\n").starts_with("f.yml:3: unknown key \"ca\""));
}
