/* SPDX-License-Identifier: MIT */
/*
 * builder.h - makes one template, in a process of its own: a build that is
 * killed, or runs out of memory, takes nothing else with it.
 *
 * In: a request (the program's whole context). Out, on a socket to the daemon:
 * a BuildResult (launcher/wire/control.proto) in a memfd, and with it the control and pages memfds
 * and the mapped files.
 */
#ifndef WARM_WARMD_BUILD_BUILDER_H
#define WARM_WARMD_BUILD_BUILDER_H

#include "launcher/wire/control.pb-c.h"
#include "launcher/wire/request.h"
#include "warmd/config/config.h"

struct plan;
struct model;

/* what a build has made, as long as its process has it */
struct builder_made {
	const struct request *req;
	const struct config *cfg;
	const Warm__BuildResult *result;
	const struct model *model; /* whose runs have their offsets in the pages memfd */
	const struct plan *plan;
};

/**
 * builder_run() - build and report; called in a forked child
 * @sock: SOCK_SEQPACKET to the daemon
 * @reported: called behind the report of a template that is ready; may be NULL
 * Return: exit status for _exit()
 */
int builder_run(const struct request *req, const struct config *cfg,
		void (*reported)(const struct builder_made *made, int sock), int sock);

#endif
