#pragma once

#include <ctime>
#include <memory>
#include <mutex>
#include <string>

#include "http/parameter_schemas.hpp"
#include "http/server.hpp"
#include "model/catalog.hpp"

namespace matriarch::http {

/// The catalog as it is sent, with its schemas, for a given number of cells. Immutable.
class catalog_page {
public:
  catalog_page(const model::catalog& offered, std::size_t cell_count, std::time_t modified);

  /// 200 with the catalog, or 304 if the headers of `got` show that its sender has it already.
  [[nodiscard]] response answer(const request& got) const;
  [[nodiscard]] const parameter_schemas& schemas() const { return schemas_; }
  [[nodiscard]] std::size_t cell_count() const { return cell_count_; }
  [[nodiscard]] std::time_t modified() const { return modified_; }

private:
  [[nodiscard]] bool is_known_to_sender(const request& got) const;

  std::size_t cell_count_;
  std::time_t modified_;
  parameter_schemas schemas_;
  std::string body_;
  std::string tag_; ///< with its quotes
};

/// The page for the present number of cells, made when that number changes.
class catalog_pages {
public:
  explicit catalog_pages(const model::catalog& offered) : offered_(offered) {}

  [[nodiscard]] std::shared_ptr<const catalog_page> page(std::size_t cell_count);

private:
  const model::catalog& offered_;
  std::mutex mutex_;
  std::shared_ptr<const catalog_page> newest_;
};

} // namespace matriarch::http
