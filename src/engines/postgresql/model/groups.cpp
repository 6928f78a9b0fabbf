#include "engines/postgresql/model/groups.hpp"

namespace matriarch::engines::postgresql {

std::string readers_role(const std::string& owner) {
  return owner + "_readers";
}

std::string writers_role(const std::string& owner) {
  return owner + "_writers";
}

std::string revoked_role(const std::string& owner) {
  return owner + "_revoked";
}

} // namespace matriarch::engines::postgresql
