// Found before the package's own header, which it includes. fmt 9 has no declaration that libfmt holds
// this function, so that every file with a line for the log would compile all that can be formatted:
// 230 kB of code, and more than a tenth of the time that it takes to compile the file.
#pragma once

#include_next <spdlog/spdlog.h>

#if FMT_VERSION / 10000 == 9 && !defined(FMT_HEADER_ONLY)
extern template void fmt::detail::vformat_to<char>(fmt::detail::buffer<char>&,
                                                   fmt::basic_string_view<char>,
                                                   fmt::basic_format_args<fmt::buffer_context<char>>,
                                                   fmt::detail::locale_ref);
#endif
