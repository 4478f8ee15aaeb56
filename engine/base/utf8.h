/* SPDX-License-Identifier: MIT */
/* utf8.h - text from elsewhere that must become UTF-8 */
#ifndef WARM_ENGINE_BASE_UTF8_H
#define WARM_ENGINE_BASE_UTF8_H

#include <stddef.h>

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/** utf8_length() - bytes of the sequence at @p, which ends by NUL; 0 if there is none (RFC 3629: no overlong ones, no surrogates) */
size_t utf8_length(const char *p);

#endif
