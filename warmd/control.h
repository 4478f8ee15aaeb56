/* SPDX-License-Identifier: MIT */
/* control.h - answers to control messages: list, remove, inspect, explain, ps, stats, stop */
#ifndef WARM_WARMD_CONTROL_H
#define WARM_WARMD_CONTROL_H

#include <stddef.h>

#include "warmd/pool/census.h"
#include "launcher/wire/control.pb-c.h"
#include "warmd/pool/pool.h"
#include "warmd/server.h"

#define ANSWER_LINES 40 /* of `warm explain` */

/* a reply under construction: what it points to is freed with it */
struct answer {
	const struct server *server;
	Warm__ControlReply reply;
	char message[256];
	void **owned;
	size_t nowned;
};

/** control_handle() - answer a WIRE_CONTROL packet. Return: 0, or -EBADMSG: the connection is to be ended */
int control_handle(struct connection *c, const uint8_t *payload, size_t len);

/* --- between the control*.c ---------------------------------------------------- */

/** answer_own() - have @p freed with the answer. Return: @p, or NULL when there is no memory: it is freed then */
void *answer_own(struct answer *a, void *p);
void answer_fail(struct answer *a, int code, const char *fmt, const char *what);
/** answer_text() - Return: never NULL, which protobuf-c does not take for a string of a list */
char *answer_text(struct answer *a, const char *fmt, const char *arg);
/** answer_pid() - a decimal number. Return: 0: it is none */
pid_t answer_pid(const char *text);

/* --- control_clones.c --- */

void answer_ps(struct server *s, struct answer *a, const Warm__PsRequest *q);
/** answer_clone() - the one, for `warm inspect PID` */
void answer_clone(struct answer *a, const struct census_entry *e);
/** explain_process() - how it was launched. @lines: room for ANSWER_LINES. Return: how many; 0: it is unknown */
size_t explain_process(const struct server *s, struct answer *a, pid_t pid, char **lines);

/* --- control_stats.c --- */

void answer_stats(struct server *s, struct answer *a);
/** answer_pool() - NULL when there is none, or no memory */
Warm__Pool *answer_pool(struct answer *a, const struct pool *p);

#endif
