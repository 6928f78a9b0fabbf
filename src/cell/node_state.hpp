#pragma once

#include <cstddef>
#include <string>

#include "cell/node_driver.hpp"
#include "cell/node_record.hpp"

namespace matriarch::cell {

/// The files of a node that no engine decides, in its directory.
struct node_files {
  explicit node_files(const std::string& directory)
      : directory(directory), record(directory + "/node.json"),
        certificate(directory + "/server.pem"), fleet(directory + "/fleet.crt"),
        log(directory + "/log") {}

  std::string directory;
  std::string record;      ///< the agent's memory
  std::string certificate; ///< what it shows, and its key: one file, so that nobody ever finds one
                           ///< without the other
  std::string fleet;       ///< the certificates of who may have signed it; if it was signed
  std::string log;         ///< what its programs print
};

/// What a node's file says of it, and what it shows.
struct node_state {
  node_record record;
  node_files files;
  std::string certificate = {}; ///< the first of what it shows
  std::string authorities = {}; ///< who may have signed it; empty: nobody of the fleet's

  [[nodiscard]] const std::string& id() const { return record.request.node_id; }
  [[nodiscard]] node_place place() const {
    return {id(),
            files.directory,
            {record.process, record.kept_by, record.isolated},
            record.request.limits};
  }
};

/// What a file may have, in bytes, that a node's user can write, who may be a tenant.
inline constexpr std::size_t longest_file_of_node = 1024 * 1024;

} // namespace matriarch::cell
