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

/// `/service/<first>/<rest>` in two parts; both empty for any other key.
struct service_key {
  std::string first;
  std::string rest;
  explicit service_key(std::string_view key);
};

/// Groups the keys below `/service/` by instance. The keys come in etcd's order, in parts of any
/// size; an instance is given as soon as all its keys have come, including those of its scopes.
class service_groups {
public:
  /// `given` gets the start values of the instance's actor, and all its keys.
  using given = std::function<void(instance_start, std::vector<store::key_value>)>;

  service_groups(const store::keyring& keys, given give) : keyring_(keys), give_(std::move(give)) {}

  void add(const std::vector<store::key_value>& some);
  /// Ends the listing: also gives instances with scopes for which no keys came.
  void end();
  /// Names of instances with readable records so far.
  [[nodiscard]] const std::set<std::string>& names() const { return names_; }
  /// Names of instances with unreadable records.
  [[nodiscard]] const std::set<std::string>& unreadable() const { return unreadable_; }

private:
  struct known {
    instance_start start;
    std::vector<store::key_value> keys;
    std::set<std::string> missing; ///< scopes without keys so far
  };
  void close();
  void give(known one);

  const store::keyring& keyring_;
  given give_;
  std::set<std::string> names_;
  std::set<std::string> unreadable_;
  std::string open_; ///< the name or scope whose keys are coming
  std::vector<store::key_value> group_;
  std::map<std::string, std::vector<store::key_value>>
      scopes_;                ///< keys of scopes without a record so far
  std::list<known> awaiting_; ///< instances that wait for keys of their scopes
};

} // namespace matriarch::actors
