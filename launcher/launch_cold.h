/* SPDX-License-Identifier: MIT */
/* launch_cold.h - `warm launch` where no clone can be had: the template's own command, executed in this process */
#ifndef WARM_LAUNCHER_LAUNCH_COLD_H
#define WARM_LAUNCHER_LAUNCH_COLD_H

#include <stdbool.h>
#include <stdint.h>

#include "engine/base/error.h"

struct launch_cold {
	char *program; /* in buf */
	char *const *argv; /* the caller's, which follow the template's own; ended by NULL */
	char *const *envp;
	const char *cgroup; /* NULL: this process's */
	bool detach;
	uint32_t argc; /* of the template's own words, in buf behind the program */
	uint64_t *buf;
};

/**
 * launch_cold_receive() - the command that follows an answer
 * @size: wire_run_reply.command
 * Return: 0, or a negative errno with *err set
 */
int launch_cold_receive(int conn, uint32_t size, struct launch_cold *c, struct error *err);

/** launch_cold_run() - does not return but with an exit status: of a failure, or with detach once the program's PID is written */
int launch_cold_run(const struct launch_cold *c);

#endif
