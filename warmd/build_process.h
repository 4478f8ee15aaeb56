/* SPDX-License-Identifier: MIT */
/*
 * build_process.h - one build: its process, and what comes back from it. Between build_process.c and build_queue.c alone;
 * whoever wants something built includes build_queue.h.
 */
#ifndef WARM_WARMD_BUILD_PROCESS_H
#define WARM_WARMD_BUILD_PROCESS_H

#include "warmd/build/builder.h"
#include "warmd/build/report.h"
#include "warmd/server.h"

struct build {
	struct build *next;
	struct server *server;
	struct request *request;
	struct connection **waiters;
	unsigned int nwaiters;
	bool background; /* wanted whether or not anybody waits */
	bool ending; /* whoever is told may go away meanwhile */
	bool retrying; /* timer: until it is started again */
	unsigned int shortages; /* how often it could not be started for want of processes or descriptors */
	uint64_t cpu_ns; /* of its process, once that is reaped */
	unsigned int again; /* how often an input changed during the build, so that it was made once more */
	/* while it runs */
	pid_t pid;
	int sock;
	sd_event_source *io, *timer, *child;
	uint64_t start_ns;
	struct report report;
};

/** build_start_next() - the first of the queue, unless one runs or is ending */
void build_start_next(struct server *s);
/** build_free() - its process ends, and it is in no list any more */
void build_free(struct build *b);
/** build_is_named() - launches come by its name, and cannot run cold: it is worth waiting until nobody writes any more */
bool build_is_named(const struct request *req);

#endif
