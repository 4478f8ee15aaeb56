/* SPDX-License-Identifier: MIT */
/* guest.c - the number of guests is bounded too: for one more, the oldest goes */
#include "warmd/guest.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/log.h"
#include "warmd/serve.h"

#define GUESTS_MAX 64

void guest_admit(struct connection *c)
{
	struct server *s = c->server;
	struct connection *oldest = NULL;
	unsigned int n = 0;

	if (s->connections.n < CONNECTIONS_MAX)
		return;
	c->guest = true;
	s->refused_connections++;
	log_warning("too many connections: %u", s->connections.n);
	/* newest first */
	for (struct connection *o = s->connections.list; o; o = o->next) {
		if (!o->guest)
			continue;
		oldest = o;
		n++;
	}
	if (n >= GUESTS_MAX)
		connection_close(oldest);
}

int guest_answer(struct connection *c, const void *packet, size_t len)
{
	const struct wire_run *run = packet;
	struct wire_run_reply reply = {
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_RUN_REPLY,
			    .size = sizeof(reply) },
		.status = WIRE_COLD_ERROR,
	};
	struct wire_attached attached = {
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_ATTACHED,
			    .size = sizeof(attached) },
		.error = EUSERS,
	};
	char words[128];

	snprintf(words, sizeof(words), "warmd has %u connections and serves no more; see 'warm stats'",
		 CONNECTIONS_MAX);
	if (run->header.type == WIRE_ATTACH) {
		snprintf(attached.reason, sizeof(attached.reason), "%s", words);
		return connection_send(c, &attached, sizeof(attached), NULL, 0);
	}
	if (run->header.type != WIRE_RUN && run->header.type != WIRE_LAUNCH)
		return 0;
	if (len < sizeof(*run))
		return -EBADMSG;
	reply.tag = run->tag;
	snprintf(reply.reason, sizeof(reply.reason), "%s", words);
	return connection_send(c, &reply, sizeof(reply), NULL, 0);
}
