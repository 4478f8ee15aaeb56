/* SPDX-License-Identifier: MIT */
/*
 * warmd/ - the daemon: one for each user, started by `warm` on first use or by
 * systemd's socket activation.
 *
 * In: connections on warmd.sock (launcher/wire/protocol.h), file system events
 * (watch.h), results of builds (builder.h). Out: templates handed to launchers, cold
 * otherwise with a reason. One thread, one sd-event loop; nothing that can take long happens in
 * it: builds are processes of their own.
 *
 *	main.c		start, configuration, lock, signals
 *	server.c	connections and the run message
 *	guest.c		connections that are too many
 *	control.c, control_*.c	the other commands
 *	metrics.c, metrics_http.c	what is counted and measured, and its way to Prometheus
 *	census.c	the processes that it has
 *	peer*.c, rights.c	who may ask for anything
 *	pool*.c, lease.c, launch.c, clone.c, order.c, skeleton.c	clones that warmd launches
 *	lease.c, drain.c	clones that clients launch without asking
 *	terminal.c, attach.c	their terminals, and who looks at them
 *	build*.c	the queue of builds and their processes; backoff.c: which are not worth it
 *	template.c, match.c	what is there and whom it serves
 *	deps.c, watch.c	staleness
 *	observe.c	what a program took in while it was built
 *	builder*.c	in the build's process: trace, dump, report
 */
#ifndef WARM_WARMD_SERVER_H
#define WARM_WARMD_SERVER_H

#include <stdint.h>
#include <systemd/sd-event.h>

#include "launcher/wire/protocol.h"
#include "warmd/config/config.h"
#include "warmd/metrics.h"
#include "launcher/wire/request.h"
#include "warmd/template.h"

#define CONNECTIONS_MAX 1024
#define RECENT_LAUNCHES 256

struct connection {
	struct connection *next;
	struct server *server;
	sd_event_source *source;
	int fd;
	uint32_t pid;
	bool checked; /* its process has the rights that warmd has: peer.c */
	bool launcher; /* and the two below are known */
	bool guest; /* one too many: guest.c */
	bool dead; /* connection_end() */
	struct terminal *terminal; /* that it writes to or looks at: terminal.h */
	uint64_t hard_limits[WIRE_RLIMITS]; /* of the client, when it first asked for a launch */
	int oom_score_adj; /* the same */
	struct outgoing *outgoing, **outgoing_end; /* what the client's socket had no room for: outgoing.c */
	size_t noutgoing, outgoing_bytes, outgoing_fds;
};

struct build;
struct terminal;

struct recent_launch { /* for `warm explain PID` */
	uint32_t pid, status;
	uint64_t when_ns; /* CLOCK_REALTIME */
	char what[96], reason[160];
	/* WIRE_LAUNCHED: what became of it; order_ns: from the request to the clone's order, a duration */
	uint32_t clone, way;
	int32_t wstatus;
	uint64_t template_id, order_ns, ended_ns; /* ended_ns: CLOCK_REALTIME, 0: not yet */
};

struct server {
	sd_event *event;
	const struct config *config;
	struct store *store;
	int listen_fd;
	struct connection *connections;
	unsigned int nconnections;
	struct build *builds; /* the first runs, the others wait */
	struct build *later; /* to be asked for after a while */
	uint64_t started_ns, last_request_ns; /* CLOCK_REALTIME, CLOCK_MONOTONIC */
	uint64_t started_boot_ns; /* CLOCK_BOOTTIME: the wall clock may be set while it runs */
	/* statistics */
	uint64_t launches[WIRE_STATUS_COUNT];
	uint64_t builds_ok, builds_refused, builds_failed, bad_messages, accepted;
	uint64_t overfull; /* connections that were ended because their clients do not read */
	uint64_t refused_connections; /* guests */
	uint64_t accept_failures; /* for want of descriptors or memory */
	bool accept_pauses;
	struct metrics metrics;
	struct recent_launch recent[RECENT_LAUNCHES];
	uint64_t nrecent;
	/* clones that warmd launches: pool.h */
	struct clone *clones;
	struct clone *leaving; /* told to end */
	struct clone *leased; /* clients may launch them: lease.h */
	uint64_t next_model;
	unsigned int nclones;
	sd_event_source *reaper; /* clone.c */
	struct terminal *terminals;
	uint64_t next_clone;
	struct launch *waiting; /* for a build */
	struct wire_run own; /* limits and such of this process */
	int own_oom_score_adj;
	uint64_t ways[WIRE_WAY_COUNT];
	bool short_of_memory;
};

/** server_new() - serve on @listen_fd (taken over) */
int server_new(struct server **ret, sd_event *event, const struct config *config, int listen_fd,
	       struct error *err);
void server_free(struct server *s);
/**
 * server_pause_accepting() - accept(2) has failed with @code
 * @listener: its event source, which lives as long as the loop; no more asked for a moment
 * Return: false: this is not for want of descriptors or memory
 */
bool server_pause_accepting(struct server *s, sd_event_source *listener, int code);

/** connection_reply() - send the answer to a run message; ends the connection when it cannot be sent */
void connection_reply(struct connection *c, uint32_t status, const struct template *t, bool descriptors,
		      uint32_t stdio_changed, const char *reason);
void connection_close(struct connection *c);
/** connection_end() - have it closed in its next turn of the loop: whoever uses it now may go on */
void connection_end(struct connection *c);
/* --- outgoing.c --- */

/*
 * What waits for one client at most. Ends of clones are 32 bytes: a program may leave those of as many clones
 * unread as a machine has processes. Descriptors are warmd's own: at most half of what it may have (RLIMIT_NOFILE).
 */
#define OUTGOING_MAX_PACKETS 65536
#define OUTGOING_MAX_BYTES   (16u << 20) /* with what is kept beside them */
size_t outgoing_max_fds(void);

/**
 * connection_send() - a packet, as soon as the client reads
 * @fds: @nfds of them go with it; they stay the caller's
 *
 * A client that does not read, for which more than the above would have to wait, loses its connection: it is ended
 * here, counted, and -ENOBUFS.
 *
 * Return: 0; a negative errno: the connection is of no use, and the caller closes it
 */
int connection_send(struct connection *c, const void *bytes, size_t len, const int *fds, size_t nfds);
/** connection_flush() - the client has room again. Return: as connection_send() */
int connection_flush(struct connection *c);
void connection_drop_outgoing(struct connection *c);

/* --- guest.c --- */

/** guest_admit() - @c, which is not in the list yet, may be one too many: then it is a guest */
void guest_admit(struct connection *c);
/** guest_answer() - the answer to a launch of a guest: there is none. Return: 0, or -EBADMSG and such: end the connection */
int guest_answer(struct connection *c, const void *packet, size_t len);

/** server_note_launch() - for the statistics and `warm explain PID` */
void server_note_launch(struct server *s, uint32_t pid, const struct request *req, uint32_t status,
			const char *reason, uint64_t start_ns);

/** template_describe() - an answer's part that says where a template's memory belongs */
void template_describe(const struct template *t, struct wire_run_reply *reply);
/** template_send() - an answer with a template's descriptors, in as many packets as it takes. Return: 0 or a negative errno */
int template_send(int sock, struct wire_run_reply *reply, const struct template *t);

/** control_handle() - answer a WIRE_CONTROL packet. Return: 0, or -EBADMSG: the connection is to be ended */
int control_handle(struct connection *c, const uint8_t *payload, size_t len);

/**
 * build_request() - have a template built
 * @req: taken over
 * @waiter: gets the answer when it is done; NULL: nobody waits
 */
void build_request(struct server *s, struct request *req, struct connection *waiter);
/** build_request_later() - the same in @ns, for nobody who waits; it is pending by its name meanwhile */
void build_request_later(struct server *s, struct request *req, uint64_t ns);
/** build_pending() - is one for this command under way or waiting? */
bool build_pending(const struct server *s, const struct request *req);
/** build_pending_name() - the same by the name or label of its template */
bool build_pending_name(const struct server *s, const char *name);
/** build_awaited() - a launch waits for a template of this name or label: its build comes before those that nobody waits for */
void build_awaited(struct server *s, const char *name);
/** build_is_process() - is @pid the process of a build? */
bool build_is_process(const struct server *s, pid_t pid);
/** build_forget_waiter() - the connection is going away */
void build_forget_waiter(struct server *s, const struct connection *c);
/** build_give_up() - builds that would make a template of this name, and for which nobody waits */
void build_give_up(struct server *s, const char *name);
void build_stop_all(struct server *s);

#endif
