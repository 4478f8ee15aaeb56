/* SPDX-License-Identifier: MIT */
/* context_json.h - the launch context for programs that read it themselves: docs/adaptor.md */
#ifndef WARM_LAUNCHER_WIRE_CONTEXT_JSON_H
#define WARM_LAUNCHER_WIRE_CONTEXT_JSON_H

#include <stdint.h>

#include "engine/base/error.h"

/**
 * context_json() - the launch context as one line of JSON, in a file of its own
 * @argc, @argv: the program's arguments
 * @envp: its environment, ended by NULL
 * @cwd: NULL: this process's
 * @generation: of the clone; 0 is the build's
 *
 * Bytes that are not UTF-8 become lone surrogates U+DC80..U+DCFF, as Python's surrogateescape has them.
 * Used by the static launcher too: no malloc.
 *
 * Return: a descriptor at offset 0 (close-on-exec), or a negative errno below -1 with *err set
 */
int context_json(int argc, char *const *argv, char *const *envp, const char *cwd, uint64_t generation,
		 struct error *err);

#endif
