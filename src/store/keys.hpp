#pragma once

#include <string>
#include <string_view>

/// All etcd keys that this program reads or writes; the README describes the schema.
/// `name` is model::name_of() of an instance's or binding's id; `scope` is a cluster's.
namespace matriarch::store::keys {

inline const std::string services = "/service/";
inline const std::string routing = "/routing/";
inline const std::string cells = "/cells/";
inline const std::string registrar = "/postgresql-brokerpatroni/";
inline const std::string own = "/matriarch/";

/// The smallest range with all of the above: one watch covers everything.
inline const std::string first = "/cells/";
inline const std::string last = "/service0"; // '0' follows '/'

inline std::string record(std::string_view name) {
  return services + std::string{name} + "/state";
}
inline std::string bindings(std::string_view name) {
  return services + std::string{name} + "/bindings/";
}
inline std::string binding(std::string_view name, std::string_view binding_name) {
  return bindings(name) + std::string{binding_name};
}
/// All keys of an instance whose scope is its name. The final slash matters: `/service/db` is also
/// a prefix of `/service/db2/state`.
inline std::string everything_of(std::string_view name) {
  return services + std::string{name} + "/";
}

inline std::string members(std::string_view scope) {
  return services + std::string{scope} + "/members/";
}
inline std::string member(std::string_view scope, std::string_view node) {
  return members(scope) + std::string{node};
}
inline std::string leader(std::string_view scope) {
  return services + std::string{scope} + "/leader";
}
inline std::string initialize(std::string_view scope) {
  return services + std::string{scope} + "/initialize";
}
/// The synchronous members.
inline std::string sync(std::string_view scope) {
  return services + std::string{scope} + "/sync";
}
inline std::string optime(std::string_view scope) {
  return services + std::string{scope} + "/optime/";
}

inline const std::string next_port = "/routing/nextport";
inline const std::string allocations = "/routing/allocation/";
inline const std::string ports = "/routing/port/";
inline std::string allocation(std::string_view name) {
  return allocations + std::string{name};
}
/// The second public port of an instance, for its replicas.
inline const std::string read_only_allocations = "/routing/readonly/";
inline std::string read_only_allocation(std::string_view name) {
  return read_only_allocations + std::string{name};
}
/// The holder of an instance's second port, different from the first port's. Not a key: names
/// contain no slash.
inline std::string read_only_holder(std::string_view name) {
  return std::string{name} + "/read-only";
}
inline std::string port(int number) {
  return ports + std::to_string(number);
}

/// The routers' reports, each under the router's own lease.
inline const std::string routers = "/routers/";
inline std::string router(std::string_view id) {
  return routers + std::string{id};
}

inline std::string cell(std::string_view guid) {
  return cells + std::string{guid};
}

/// The certificate that the broker has signed for the cell.
inline std::string cell_certificate(std::string_view guid) {
  return cell(guid) + "/certificate";
}

/// The PEM certificates of the authorities that sign the nodes' certificates: routers check members
/// against them.
inline const std::string shown_authority = "/routing/authority";

inline const std::string active = "/matriarch/active";
/// The authorities that sign the fleet's certificates, with their sealed private keys.
inline const std::string authority = "/matriarch/authority";
inline const std::string fleet = "/matriarch/fleet";
/// The value of `fleet`, where routers may read it.
inline const std::string shown_fleet = "/routing/fleet";
/// The highest `format` and `min_reader` that the fleet's brokers have written.
inline const std::string format = "/matriarch/format";
/// The time of the active broker's last write: shows whether etcd accepts writes.
inline const std::string heartbeat = "/matriarch/heartbeat";
inline const std::string graves = "/matriarch/graves/";
inline const std::string tombstones = "/matriarch/tombstones/";
inline std::string graves_on(std::string_view cell_guid) {
  return graves + std::string{cell_guid} + "/";
}
inline std::string grave(std::string_view cell_guid, std::string_view node) {
  return graves_on(cell_guid) + std::string{node};
}
inline std::string tombstone(std::string_view name) {
  return tombstones + std::string{name};
}

} // namespace matriarch::store::keys
