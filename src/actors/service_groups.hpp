#pragma once

#include <functional>
#include <list>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "actors/messages.hpp"
#include "store/keyring.hpp"

namespace matriarch::actors {

/// `/service/<first>/<rest>` taken apart; empty parts if it is no such key.
struct service_key {
  std::string first;
  std::string rest;
  explicit service_key(std::string_view key);
};

/// The keys below `/service/`, in etcd's order and in parts of any size, put together by instance: each
/// is given as soon as its keys are there, those of its scopes among them.
class service_groups {
public:
  /// `given` gets what the instance's actor begins with, and all its keys.
  using given = std::function<void(instance_start, std::vector<store::key_value>)>;

  service_groups(const store::keyring& keys, given give) : keyring_(keys), give_(std::move(give)) {}

  void add(const std::vector<store::key_value>& some);
  /// That was everything: gives also those of whose scopes nothing came.
  void end();
  /// Whose records have come so far, those that cannot be read left out.
  [[nodiscard]] const std::set<std::string>& names() const { return names_; }
  /// Those that were left out.
  [[nodiscard]] const std::set<std::string>& unreadable() const { return unreadable_; }

private:
  struct known {
    instance_start start;
    std::vector<store::key_value> keys;
    std::set<std::string> missing; ///< scopes of which nothing has come yet
  };
  void close();
  void give(known one);

  const store::keyring& keyring_;
  given give_;
  std::set<std::string> names_;
  std::set<std::string> unreadable_;
  std::string open_; ///< whose keys are coming
  std::vector<store::key_value> group_;
  std::map<std::string, std::vector<store::key_value>> scopes_; ///< without a record so far
  std::list<known> awaiting_;                                   ///< keys of their scopes
};

} // namespace matriarch::actors
