/* SPDX-License-Identifier: MIT */
/*
 * connection/ - one client each: its socket, what waits to be sent to it, and what its process may have done for it.
 *
 * In: accepted sockets. Out: packets that are sent as soon as the client reads (connection.c), and whether its process has
 * the rights that warmd has (peer.h, rights.h). Which messages there are, and what they do, is told by those who include
 * this: warmd/pool/ and the server.
 */
#ifndef WARM_WARMD_CONNECTION_CONNECTION_H
#define WARM_WARMD_CONNECTION_CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <systemd/sd-event.h>

#include "launcher/wire/protocol.h"

struct server;
struct terminal;
struct outgoing;
struct connection;

/* all connections of a warmd */
struct connections {
	struct connection *list; /* newest first */
	unsigned int n;
	uint64_t overfull; /* how many were ended because their clients do not read */
};

struct connection {
	struct connection *next;
	struct connections *all;
	struct server *server; /* for the server alone, which made it */
	sd_event_source *source;
	int fd;
	uint32_t pid;
	bool checked; /* its process has the rights that warmd has: peer.h */
	bool launcher; /* hard_limits and oom_score_adj are known */
	bool guest; /* one too many: warmd/guest.h */
	bool dead; /* connection_end() */
	struct terminal *terminal; /* that it writes to or looks at: warmd/pool/terminal.h */
	uint64_t hard_limits[WIRE_RLIMITS]; /* of the client, when it first asked for a launch */
	int oom_score_adj; /* of the client, at the same moment */
	struct outgoing *outgoing, **outgoing_end; /* what the client's socket had no room for */
	size_t noutgoing, outgoing_bytes, outgoing_fds;
};

/**
 * connection_end() - end @c, while somebody may be using it
 *
 * The client sees the end of file now. The server frees @c in the next turn of its loop, so the caller may go on using it.
 */
void connection_end(struct connection *c);

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
/** connection_drop_outgoing() - what waits for the client is freed, and its descriptors are closed */
void connection_drop_outgoing(struct connection *c);

#endif
