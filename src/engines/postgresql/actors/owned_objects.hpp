#pragma once

#include <string_view>

/// The kinds of things that a role can own in a database, for statements about each of them.
namespace matriarch::engines::postgresql {

/// The catalogs of what is neither a relation nor a schema, as regclass literals.
inline constexpr std::string_view owned_beside_relations =
    "'pg_proc', 'pg_type', 'pg_collation', 'pg_conversion', 'pg_operator', 'pg_opclass',"
    " 'pg_opfamily', 'pg_largeobject', 'pg_ts_config', 'pg_ts_dict', 'pg_language',"
    " 'pg_foreign_data_wrapper', 'pg_foreign_server', 'pg_statistic_ext', 'pg_publication'";

/// What ALTER calls the kind of a thing that pg_identify_object() has named as `i`.
inline constexpr std::string_view word_for_alter =
    "case i.type when 'function' then 'routine' when 'procedure' then 'routine'"
    " when 'aggregate' then 'routine' when 'statistics object' then 'statistics'"
    " when 'foreign-data wrapper' then 'foreign data wrapper' else i.type end";

} // namespace matriarch::engines::postgresql
