#pragma once

#include <string_view>

/// The kinds of objects that a role can own in a database, for statements about them.
namespace matriarch::engines::postgresql {

/// The catalogs of objects that are neither relations nor schemas, as regclass literals.
inline constexpr std::string_view owned_beside_relations =
    "'pg_proc', 'pg_type', 'pg_collation', 'pg_conversion', 'pg_operator', 'pg_opclass',"
    " 'pg_opfamily', 'pg_largeobject', 'pg_ts_config', 'pg_ts_dict', 'pg_language',"
    " 'pg_foreign_data_wrapper', 'pg_foreign_server', 'pg_statistic_ext', 'pg_publication'";

/// ALTER's word for the kind of an object that pg_identify_object() has returned as `i`.
inline constexpr std::string_view word_for_alter =
    "case i.type when 'function' then 'routine' when 'procedure' then 'routine'"
    " when 'aggregate' then 'routine' when 'statistics object' then 'statistics'"
    " when 'foreign-data wrapper' then 'foreign data wrapper' else i.type end";

} // namespace matriarch::engines::postgresql
