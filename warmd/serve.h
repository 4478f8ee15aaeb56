/* SPDX-License-Identifier: MIT */
/*
 * serve.h - connections from accept(2) to their end: which message goes where, and what their end means for builds,
 * launches, leases, clones and terminals.
 */
#ifndef WARM_WARMD_SERVE_H
#define WARM_WARMD_SERVE_H

#include "warmd/server.h"

/** serve_on_connect() - the handler of the listening socket's event source; @data: struct server */
int serve_on_connect(sd_event_source *source, int fd, uint32_t events, void *data);
/**
 * serve_pause_accepting() - accept(2) has failed with @code
 * @listener: its event source, which lives as long as the loop; no more asked for a moment
 * Return: false: this is not for want of descriptors or memory
 */
bool serve_pause_accepting(struct server *s, sd_event_source *listener, int code);
/**
 * connection_reply() - send the answer to a run message; @c is closed and freed when it cannot be sent
 * @t: the template of the answer, or NULL
 * @descriptors: whether the client gets the template itself
 */
void connection_reply(struct connection *c, uint32_t status, const struct template *t, bool descriptors,
		      uint32_t stdio_changed, const char *reason);
/** connection_close() - whatever the client waits for is forgotten; @c is freed. See connection_end() for one that is in use */
void connection_close(struct connection *c);

#endif
