#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.hpp"
#include "cell/endpoints.hpp"
#include "config/etcd_section.hpp"
#include "config/yaml_reader.hpp"
#include "tls/certificate.hpp"

/// What `matriarch cell` reads from its configuration file; conf/cell.yml shows every key.
namespace matriarch::cell {

/// An engine's own settings by name, as text.
using engine_parameters = std::map<std::string, std::string>;

/// The engine's own settings in the file. Each engine derives its own type.
struct engine_settings {
  virtual ~engine_settings() = default;
  engine_parameters parameters = {}; ///< of all nodes
};

struct cell_config {
  std::string guid;
  std::string availability_zone;
  std::string bind_host;
  std::uint16_t port = 0;
  /// Where the broker reaches this cell.
  std::string uri;
  /// An operator's certificate for the cell's own HTTP, with its key; empty: the fleet's authority
  /// signs one.
  tls::key_pair tls;
  bool plain_http = false; ///< accept plain HTTP too, whatever brokers say
  std::string username;
  std::string password;
  std::string data_dir;
  std::size_t capacity = 0;
  /// Bytes of the file system of `data_dir`: when less is free, nodes only read. 0: whatever is left is
  /// theirs.
  std::int64_t least_free_disk = 0;
  endpoint_pool endpoints;
  /// The user that nodes run as.
  std::string run_as;
  config::etcd_settings etcd;
  std::shared_ptr<const engine_settings> engine = std::make_shared<const engine_settings>();
  /// The parameters that a plan changes, by plan id.
  std::map<std::string, engine_parameters> plans;

  /// The parameters of a plan's nodes.
  [[nodiscard]] engine_parameters parameters_of(std::string_view plan_id) const;
};

/// A configuration, and warnings about settings that are allowed but likely to hurt.
struct loaded_cell_config {
  cell_config config;
  std::vector<std::string> warnings;
};

/// How an engine reads a cell's configuration.
class engine_sections {
public:
  engine_sections() = default;
  virtual ~engine_sections() = default;
  engine_sections(const engine_sections&) = delete;
  engine_sections& operator=(const engine_sections&) = delete;

  /// The engine's own sections, at the top level of the file.
  [[nodiscard]] virtual std::vector<std::string_view> names() const = 0;
  /// Reads them. Throws config_error, as read_parameters() does.
  [[nodiscard]] virtual std::shared_ptr<const engine_settings>
  read(const config::section& top) const = 0;
  /// Reads `parameters` of a plan.
  [[nodiscard]] virtual engine_parameters read_parameters(const config::section& plan) const = 0;
  /// The ports of a node with an address of its own: for clients, and for its API.
  [[nodiscard]] virtual node_ports ports() const = 0;
  /// The default user for nodes, if the cell runs as root.
  [[nodiscard]] virtual std::string user() const = 0;
  /// The longest data directory of a cell that leaves room for the engine's paths below it.
  [[nodiscard]] virtual std::size_t longest_data_dir() const = 0;
};

/// Reads a configuration from its text. `path` is used only in messages.
[[nodiscard]] result<loaded_cell_config>
parse_cell_config(const std::string& path, const std::string& text, const engine_sections& engine);

/// Reads a file. The failure is one line that names the file, the line and what is allowed.
[[nodiscard]] result<loaded_cell_config> load_cell_config(const std::string& path,
                                                          const engine_sections& engine);

} // namespace matriarch::cell
