/* SPDX-License-Identifier: MIT */
/* attach.h - clones that were launched by somebody else, or earlier: `warm attach`, `warm logs`. Static launcher only. */
#ifndef WARM_LAUNCHER_ATTACH_H
#define WARM_LAUNCHER_ATTACH_H

#include <stdint.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "launcher/wire/protocol.h"

/** attach_main() - `warm attach` */
int attach_main(int argc, char **argv);
/** logs_main() - `warm logs` */
int logs_main(int argc, char **argv);

/**
 * attach_ask() - WIRE_ATTACH
 * @tty: the caller's terminal, which warmd puts right if this process dies; -EBADF: none
 * @fds: 1 + WIRE_TERMINAL_FDS; set to what came, the caller's then: answer->nfds of them
 *
 * Return: the connection; -ESRCH, -ENOTTY, -EACCES..: warmd refuses, in words; other negative errno
 */
int attach_ask(uint32_t pid, uint32_t flags, int tty, struct wire_attached *answer, int *fds,
	       struct error *err);

/** attach_pid() - a PID's digits. Return: 0: they are none */
uint32_t attach_pid(const char *word);

#endif
