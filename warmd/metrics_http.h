/* SPDX-License-Identifier: MIT */
/*
 * metrics_http.h - $WARM_RUNTIME_DIR/metrics.sock: an HTTP GET there is answered with the text
 * of metrics.h.
 *
 * One request a connection, of at most 4 KiB, within 5 seconds; at most 8 connections, others
 * wait in the backlog. Nothing here waits: a client that is slow is waited for by
 * the event loop, and the processes whose memory is told are looked at a few at a time, when nothing else is to be done.
 */
#ifndef WARM_WARMD_METRICS_HTTP_H
#define WARM_WARMD_METRICS_HTTP_H

#include <stddef.h>

#include "engine/base/error.h"

#define METRICS_REQUEST_MAX 4096

struct server;
struct metrics_http;

/** metrics_http_new() - serve @s in the runtime directory @dir, a descriptor. Both outlive it */
int metrics_http_new(struct metrics_http **ret, struct server *s, int dir, struct error *err);
/** metrics_http_free() - end it, and remove the socket. NULL is taken */
void metrics_http_free(struct metrics_http *h);

/**
 * http_request() - what to answer to a request's head
 * @head: @len bytes as received so far
 * @ret_body: is the body wanted (GET, not HEAD)?
 *
 * Return: 0: more is to come. 200, or the status of an error.
 */
int http_request(const char *head, size_t len, int *ret_body);

#endif
