/* SPDX-License-Identifier: MIT */
#include "warmd/metrics_http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>

#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/base/proc_path.h"
#include "warmd/pool/census.h"
#include "warmd/connection/peer.h"
#include "warmd/metrics_text.h"
#include "warmd/serve.h"
#include "warmd/socket.h"

#define CLIENTS_MAX   8
#define CLIENT_USEC   5000000
#define MEASURE_USEC  500000 /* a daemon that is never idle answers with what it has */
#define MEASURED_ONCE 8 /* processes in one turn of the loop: about 100 us */

/*
 * READING	its request comes
 * MEASURING	the processes are looked at
 * WRITING	it gets its answer
 */
struct client {
	struct client *next;
	struct metrics_http *http;
	int fd;
	bool same_user;
	sd_event_source *io, *timer, *work;
	char head[METRICS_REQUEST_MAX];
	size_t head_len;
	int body; /* wanted */
	struct metrics_memory *memory;
	size_t nmemory, room, measured;
	char *answer;
	size_t answer_len, sent;
};

struct metrics_http {
	struct server *server;
	int fd;
	sd_event_source *listen;
	struct client *clients;
	unsigned int nclients;
	int dir; /* the runtime directory */
};

static void client_free(struct client *c)
{
	struct metrics_http *h = c->http;

	for (struct client **p = &h->clients; *p; p = &(*p)->next) {
		if (*p == c) {
			*p = c->next;
			h->nclients--;
			break;
		}
	}
	sd_event_source_disable_unref(c->io);
	sd_event_source_disable_unref(c->timer);
	sd_event_source_disable_unref(c->work);
	fd_close(c->fd);
	free(c->memory);
	free(c->answer);
	free(c);
	sd_event_source_set_enabled(h->listen, SD_EVENT_ON);
}

/* --- the request: RFC 9112 -------------------------------------------------------------- */

static bool is(const char *word, size_t len, const char *what)
{
	return len == strlen(what) && memcmp(word, what, len) == 0;
}

/* a head ends by an empty line; bare line feeds are taken (RFC 9112, 2.2) */
static bool complete(const char *head, size_t len)
{
	return memmem(head, len, "\r\n\r\n", 4) || memmem(head, len, "\n\n", 2);
}

int http_request(const char *head, size_t len, int *ret_body)
{
	const char *line_end, *method_end, *target, *target_end, *version;
	size_t path;

	*ret_body = 1;
	if (!complete(head, len))
		return len < METRICS_REQUEST_MAX ? 0 : 431;
	line_end = memchr(head, '\n', len);
	if (line_end > head && line_end[-1] == '\r')
		line_end--;
	method_end = memchr(head, ' ', (size_t)(line_end - head));
	target = method_end ? method_end + 1 : NULL;
	target_end = target ? memchr(target, ' ', (size_t)(line_end - target)) : NULL;
	version = target_end ? target_end + 1 : NULL;
	if (!version || target == target_end)
		return 400;
	if (line_end - version != 8 || memcmp(version, "HTTP/", 5) != 0)
		return 400;
	if (!is(version, 8, "HTTP/1.1") && !is(version, 8, "HTTP/1.0"))
		return 505;
	*ret_body = !is(head, (size_t)(method_end - head), "HEAD");
	if (*ret_body && !is(head, (size_t)(method_end - head), "GET"))
		return 405;
	for (path = 0; target + path < target_end && target[path] != '?'; path++)
		;
	return is(target, path, "/metrics") || is(target, path, "/") ? 200 : 404;
}

static const char *reason(int status)
{
	switch (status) {
	case 200:
		return "OK";
	case 403:
		return "Forbidden";
	case 404:
		return "Not Found";
	case 405:
		return "Method Not Allowed";
	case 431:
		return "Request Header Fields Too Large";
	case 505:
		return "HTTP Version Not Supported";
	case 500:
		return "Internal Server Error";
	default:
		return "Bad Request";
	}
}

/* --- the answer ----------------------------------------------------------------------------- */

static void write_answer(struct client *c)
{
	char rest[1024];
	ssize_t n;

	while (c->sent < c->answer_len) {
		n = send(c->fd, c->answer + c->sent, c->answer_len - c->sent, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			sd_event_source_set_io_events(c->io, EPOLLOUT);
			sd_event_source_set_enabled(c->io, SD_EVENT_ON);
			return;
		}
		if (n < 0)
			break;
		c->sent += (size_t)n;
	}
	/* what is left unread makes the end a reset one, unix(7) */
	if (recv(c->fd, rest, sizeof(rest), MSG_DONTWAIT) < 0)
		log_debug("metrics: a request was answered");
	client_free(c);
}

static void answer(struct client *c, int status, const char *body, size_t len)
{
	FILE *out = open_memstream(&c->answer, &c->answer_len);

	if (!out) {
		client_free(c);
		return;
	}
	fprintf(out,
		"HTTP/1.1 %d %s\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
		"Content-Length: %zu\r\n%sConnection: close\r\n\r\n",
		status, reason(status), len, status == 405 ? "Allow: GET, HEAD\r\n" : "");
	if (c->body)
		fwrite(body, 1, len, out);
	if (fclose(out) != 0) {
		client_free(c);
		return;
	}
	write_answer(c);
}

static void answer_failure(struct client *c, int status)
{
	char words[64];

	snprintf(words, sizeof(words), "%d %s; the metrics are at /metrics\n", status, reason(status));
	answer(c, status, words, strlen(words));
}

static void answer_refusal(struct client *c, const char *why)
{
	char words[600];

	snprintf(words, sizeof(words), "%s\n", why);
	answer(c, 403, words, strlen(words));
}

static void answer_text(struct client *c)
{
	_cleanup_free_ char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (out)
		metrics_text(c->http->server, c->memory, c->nmemory, out);
	if (!out || fclose(out) != 0)
		answer_failure(c, 500);
	else
		answer(c, 200, text, len);
}

/* --- memory ------------------------------------------------------------------------------------ */

static void note(void *data, const struct census_entry *e)
{
	struct client *c = data;

	if (e->pid > 0 && c->nmemory < c->room)
		c->memory[c->nmemory++] = (struct metrics_memory){ .template_id = e->template_id,
								   .pid = e->pid };
}

static void tally(void *data, const struct census_entry *e)
{
	(void)e;
	(*(size_t *)data)++;
}

/* one that has ended meanwhile is not measured; a number that has a new owner by then is told as a clone's, once */
static void measure(struct metrics_memory *m)
{
	_cleanup_free_ char *text = NULL;

	m->measured = read_file(proc_path(m->pid, "statm").text, &text, NULL) == 0 &&
		      metrics_statm(text, (uint64_t)sysconf(_SC_PAGESIZE), m);
}

static void end_work(struct client *c)
{
	c->work = sd_event_source_disable_unref(c->work);
	sd_event_source_set_time_relative(c->timer, CLIENT_USEC);
	answer_text(c);
}

static int on_work(sd_event_source *source, void *data)
{
	struct client *c = data;

	(void)source;
	for (int i = 0; i < MEASURED_ONCE && c->measured < c->nmemory; i++)
		measure(&c->memory[c->measured++]);
	if (c->measured < c->nmemory)
		return 0;
	end_work(c);
	return 0;
}

static void begin_work(struct client *c)
{
	struct server *s = c->http->server;

	census(&s->pools, tally, &c->room);
	c->memory = calloc(c->room + 1, sizeof(*c->memory));
	if (!c->memory)
		c->room = 0;
	census(&s->pools, note, c);
	if (sd_event_add_defer(s->event, &c->work, on_work, c) < 0) {
		client_free(c);
		return;
	}
	sd_event_source_set_priority(c->work, SD_EVENT_PRIORITY_IDLE);
	sd_event_source_set_enabled(c->work, SD_EVENT_ON);
	/* a hang-up would be told again and again */
	sd_event_source_set_enabled(c->io, SD_EVENT_OFF);
	sd_event_source_set_time_relative(c->timer, MEASURE_USEC);
}

/* --- connections --------------------------------------------------------------------------------- */

static void read_request(struct client *c)
{
	struct error err = { 0 };
	ssize_t n = recv(c->fd, c->head + c->head_len, sizeof(c->head) - c->head_len, MSG_DONTWAIT);
	int status;

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		client_free(c);
		return;
	}
	c->head_len += (size_t)n;
	status = http_request(c->head, c->head_len, &c->body);
	/* names of templates are made of command lines */
	if (status == 200 && c->same_user && peer_compare(c->fd, &err) < 0)
		answer_refusal(c, err.text);
	else if (status == 200)
		begin_work(c);
	else if (status)
		answer_failure(c, status);
}

static int on_client(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct client *c = data;

	(void)source;
	(void)fd;
	(void)events;
	if (c->answer)
		write_answer(c);
	else
		read_request(c);
	return 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *data)
{
	struct client *c = data;

	(void)usec;
	if (!c->work) {
		client_free(c);
		return 0;
	}
	sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
	end_work(c);
	return 0;
}

static int on_connect(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct metrics_http *h = data;
	_cleanup_close_ int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct ucred cred;
	socklen_t len = sizeof(cred);
	sd_event *event = h->server->event;
	struct client *c;

	(void)events;
	if (peer < 0) {
		serve_pause_accepting(h->server, source, errno);
		return 0;
	}
	/* the way through another user's directory is one that only root's rights open */
	if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0 ||
	    (cred.uid != geteuid() && cred.uid != 0))
		return 0;
	c = calloc(1, sizeof(*c));
	if (!c)
		return 0;
	c->http = h;
	c->fd = TAKE_FD(peer);
	c->same_user = cred.uid == geteuid();
	c->next = h->clients;
	h->clients = c;
	if (++h->nclients >= CLIENTS_MAX)
		sd_event_source_set_enabled(source, SD_EVENT_OFF);
	if (sd_event_add_io(event, &c->io, c->fd, EPOLLIN, on_client, c) < 0 ||
	    sd_event_add_time_relative(event, &c->timer, CLOCK_MONOTONIC, CLIENT_USEC, 100000, on_timeout,
				       c) < 0)
		client_free(c);
	return 0;
}

int metrics_http_new(struct metrics_http **ret, struct server *s, int dir, struct error *err)
{
	struct metrics_http *h = calloc(1, sizeof(*h));
	int r;

	if (!h)
		return error_set(err, ENOMEM, "no memory");
	h->server = s;
	h->dir = dir;
	h->fd = socket_listen_in(dir, WIRE_METRICS, SOCK_STREAM, 64);
	if (h->fd < 0) {
		r = h->fd;
		free(h);
		return error_errno(err, r, "listening on " WIRE_METRICS);
	}
	r = sd_event_add_io(s->event, &h->listen, h->fd, EPOLLIN, on_connect, h);
	if (r < 0) {
		metrics_http_free(h);
		return error_errno(err, r, "watching " WIRE_METRICS);
	}
	*ret = h;
	return 0;
}

void metrics_http_free(struct metrics_http *h)
{
	if (!h)
		return;
	unlinkat(h->dir, WIRE_METRICS, 0);
	while (h->clients)
		client_free(h->clients);
	sd_event_source_disable_unref(h->listen);
	fd_close(h->fd);
	free(h);
}
