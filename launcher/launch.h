/* SPDX-License-Identifier: MIT */
/* launch.h - clones that are not this process: `warm launch`, `warm run --pool`. Static launcher only. */
#ifndef WARM_LAUNCHER_LAUNCH_H
#define WARM_LAUNCHER_LAUNCH_H

#include <stddef.h>

#include "engine/base/error.h"
#include "launcher/client.h"
#include "launcher/follow.h"
#include "launcher/wire/protocol.h"

/* a launch under way: from asking warmd to the end of the clone */
struct client_launch {
	struct follow follow;
	int conn;
	int pidfd; /* of the clone; -EBADF: not launched */
	char keys[RELAY_KEYS_MAX + 1]; /* set by the caller: to leave the clone's terminal; "": none */
	struct wire_run_reply reply;
};

/**
 * launch_ask() - have warmd launch a clone with this process's descriptors and directory
 * @run: as context_collect() leaves it, with type, flags and tag set; cut to header.size
 * @cgroup: where the clone starts: a cgroup's directory; -EBADF: where warmd is
 * @files: for an answer of status WIRE_WARM: its descriptors
 * @timeout_ms: bound of the answer
 *
 * Return: 0 with l->reply set, whatever its status; then launch_finish() if it is WIRE_LAUNCHED, else launch_close().
 */
int launch_ask(struct client_launch *l, struct wire_run *run, int cgroup, unsigned int timeout_ms,
	       struct client_files *files, struct error *err);

#define LAUNCH_NOT_BEGUN (-1)

/**
 * launch_finish() - follow the clone to its end, end as it did
 * Return: an exit status. LAUNCH_NOT_BEGUN: warmd died before the clone had its launch; nothing of the program has run
 */
int launch_finish(struct client_launch *l);
void launch_close(struct client_launch *l);

/** launch_main() - `warm launch` */
int launch_main(int argc, char **argv, char **envp);

#endif
