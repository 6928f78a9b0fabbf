#pragma once

#include <string>

#include "http/audit.hpp"
#include "http/front_desk.hpp"
#include "http/server.hpp"

namespace matriarch::http {

/// The operator's API: everything under `/admin`. Requests without access do not get here.
class admin_routes {
public:
  explicit admin_routes(front_desk& desk) : desk_(desk) {}

  void serve(const request& got, reply to) const;

private:
  /// Whether this broker is active and has read its instances; answers the request if not.
  bool must_act(reply& to) const;
  void forget(const std::string& cell, reply to) const;
  void orphans(reply& to) const;
  void remove_orphan(const std::string& cell, const std::string& node_id, reply to) const;
  void reencrypt(reply to) const;
  void demote(const std::string& cell, reply to) const;
  void rebuild(const std::string& instance_id, reply to) const;

  front_desk& desk_;
};

} // namespace matriarch::http
