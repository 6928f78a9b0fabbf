#pragma once

#include <cstddef>
#include <string>

#include "cell/node_driver.hpp"
#include "cell/node_record.hpp"

namespace matriarch::cell {

/// The files in a node's directory that every engine has.
struct node_files {
  explicit node_files(const std::string& directory)
      : directory(directory), record(directory + "/node.json"),
        certificate(directory + "/server.pem"), fleet(directory + "/fleet.crt"),
        log(directory + "/log") {}

  std::string directory;
  std::string record;      ///< the agent's memory
  std::string certificate; ///< what it shows, and its key: one file, so that nobody ever finds one
                           ///< without the other
  std::string fleet;       ///< the certificates of its authorities, if it was signed
  std::string log;         ///< what its programs print
};

/// A node's record, and the certificate that it shows.
struct node_state {
  node_record record;
  node_files files;
  std::string certificate = {}; ///< the first certificate that it shows
  std::string authorities = {}; ///< who may have signed it; empty: not the fleet's authority

  [[nodiscard]] const std::string& id() const { return record.request.node_id; }
  [[nodiscard]] node_place place() const {
    return {id(),
            files.directory,
            {record.process, record.kept_by, record.isolated},
            record.request.limits};
  }
};

/// The longest accepted file, in bytes, that a node's user, and so perhaps a tenant, can write.
inline constexpr std::size_t longest_file_of_node = 1024 * 1024;

} // namespace matriarch::cell
