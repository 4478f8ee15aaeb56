/* SPDX-License-Identifier: MIT */
/*
 * warmd/ - the daemon: one for each user, started by `warm` on first use or by
 * systemd's socket activation.
 *
 * In: connections on warmd.sock (launcher/wire/protocol.h), file system events
 * (warmd/stale/watch.h), results of builds (warmd/build/builder.h). Out: templates handed to launchers, clones, cold
 * otherwise with a reason. One thread, one sd-event loop; nothing that can take long happens in
 * it: builds are processes of their own.
 *
 * This folder is what brings the folders below it together:
 *
 *	main.c		start, configuration, lock, signals
 *	server.h	all that a warmd has, its beginning and its end
 *	serve.h		connections, from accept(2) to their end, and which message goes where
 *	run.h, launch*.h	the answer to `warm run`, and to launches by a name
 *	guest.h		connections that are too many
 *	control*.h	the other commands
 *	build_queue.h, build_process.h	which build comes next, and its process
 *	kept.h, worker.h	templates on disk; processes that build and load
 *	variant.h	templates of a name for other contexts
 *	metrics_text.h, metrics_http.h	the way of numbers to Prometheus
 *
 *	connection/	one client each: what is sent to it, and its rights
 *	template/	what is there and whom it serves; stale/: what it depends on
 *	pool/		clones that warmd launches
 *	build/		in the build's process: trace, observe, dump, report
 *	keep/		what is on disk, and how it comes there and back
 *	metrics/	what is counted and measured of launches
 */
#ifndef WARM_WARMD_SERVER_H
#define WARM_WARMD_SERVER_H

#include <stdint.h>
#include <systemd/sd-event.h>

#include "warmd/config/config.h"
#include "warmd/connection/connection.h"
#include "warmd/metrics/metrics.h"
#include "warmd/pool/pools.h"
#include "warmd/template/store.h"

struct build;
struct kept;
struct launch_request;

struct server {
	sd_event *event;
	const struct config *config;
	struct store *store;
	int listen_fd;
	struct connections connections;
	struct pools pools; /* clones that warmd launches */
	struct build *builds; /* the first runs, the others wait: build_queue.h */
	struct build *later; /* to be asked for after a while */
	struct launch_request *waiting; /* launches that wait for a build: launch.h */
	struct kept *kept; /* templates on disk: kept.h */
	uint64_t started_ns, last_request_ns; /* CLOCK_REALTIME, CLOCK_MONOTONIC */
	uint64_t started_boot_ns; /* CLOCK_BOOTTIME: the wall clock may be set while it runs */
	bool accept_pauses;
	/* statistics; those of launches are metrics' */
	struct metrics metrics;
	uint64_t builds_ok, builds_refused, builds_failed, bad_messages, accepted;
	uint64_t refused_connections; /* guests */
	uint64_t accept_failures; /* for want of descriptors or memory */
};

/** server_new() - serve on @listen_fd (taken over) */
int server_new(struct server **ret, sd_event *event, const struct config *config, int listen_fd,
	       struct error *err);
void server_free(struct server *s);

#endif
