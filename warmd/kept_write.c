/* SPDX-License-Identifier: MIT */
/*
 * kept_write.c - images are written by the process that built the template, after it has reported: it has the model and the
 * pages at hand, and nobody waits for the disk but `warm build --out`.
 *
 * warmd sends it an order for each image and gets an answer for each (warmd/keep/keep.h). When the socket is closed it has
 * nothing more to do. One that has begun to write finishes that, also when warmd ends.
 */
#include "warmd/kept.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/serve.h"
#include "warmd/template/match.h"

struct kept_writer {
	struct kept_writer *next;
	struct kept *kept;
	pid_t pid;
	int sock;
	sd_event_source *io;
	uint64_t template_id;
	char label[REQUEST_LABEL_MAX];
	char id[KEEP_ID_SIZE]; /* of what it writes to the cache; "": nothing */
	char out[PATH_MAX]; /* "": nothing */
	bool dropped; /* what goes to the cache is not wanted any more */
	bool busy; /* an order is not answered yet */
	struct connection **waiters; /* for out */
	unsigned int nwaiters;
};

static void unlink_writer(struct kept_writer *w)
{
	for (struct kept_writer **p = &w->kept->writers; *p; p = &(*p)->next) {
		if (*p == w) {
			*p = w->next;
			return;
		}
	}
}

/*
 * What is busy goes on by itself, if somebody wants it: it is reaped by clone_reap_unknown(), as its PID is nobody's then. An
 * image that is killed half-way lies aside, and the next writer sweeps it.
 */
void kept_writer_free(struct kept_writer *w)
{
	bool unwanted;

	if (!w)
		return;
	unwanted = w->dropped && !w->out[0];
	unlink_writer(w);
	sd_event_source_disable_unref(w->io);
	fd_close(w->sock);
	if (!w->busy || unwanted) {
		kill(w->pid, SIGKILL);
		waitpid(w->pid, NULL, 0);
	}
	if (unwanted && w->id[0] && w->kept->folder >= 0)
		keep_folder_remove(w->kept->folder, w->id);
	free(w->waiters);
	free(w);
}

struct kept_writer *kept_writer_new(struct server *s, pid_t pid, int sock)
{
	struct kept_writer *w = calloc(1, sizeof(*w));

	if (!w) {
		fd_close(sock);
		kill(pid, SIGKILL);
		waitpid(pid, NULL, 0);
		return NULL;
	}
	w->kept = s->kept;
	w->pid = pid;
	w->sock = sock;
	w->next = w->kept->writers;
	w->kept->writers = w;
	return w;
}

static struct template *template_of(const struct kept_writer *w)
{
	for (struct template *t = w->kept->server->store->list; t; t = t->next)
		if (t->id == w->template_id)
			return t;
	return NULL;
}

static void answer_waiters(struct kept_writer *w, const struct keep_written *m)
{
	struct template *t = template_of(w);
	char words[256];

	if (m->error)
		snprintf(words, sizeof(words), "its image was not written: %.200s", m->words);
	while (w->nwaiters) {
		struct connection *c = w->waiters[--w->nwaiters];

		if (m->error)
			connection_reply(c, WIRE_COLD_ERROR, NULL, false, 0, words);
		else
			connection_reply(c, WIRE_WARM, t, false, 0, w->label);
	}
}

/* the cache's image is written */
static void entered(struct kept_writer *w, const struct keep_written *m)
{
	struct kept *k = w->kept;
	struct template *t = template_of(w);
	struct error err = { 0 };

	if (m->error) {
		log_warning("template '%s' is not kept on disk: %s", w->label, m->words);
		if (t)
			t->kept[0] = '\0';
		return;
	}
	/* the first writer has made it */
	if (k->folder < 0)
		k->folder = keep_folder_open(k->path, false, &err);
	if (k->folder < 0 || w->dropped) {
		kept_drop(k, w->id, "its template is gone");
		return;
	}
	if (kept_add(k, w->id, clock_ns(CLOCK_REALTIME), m->bytes) < 0)
		return;
	k->written++;
	log_info("template '%s' is kept: %s/%s, %llu KiB", w->label, k->path, w->id,
		 (unsigned long long)(m->bytes >> 10));
}

static int send_order(struct kept_writer *w, struct keep_order *order)
{
	order->size = sizeof(*order);
	w->busy = send(w->sock, order, sizeof(*order), MSG_NOSIGNAL | MSG_DONTWAIT) == sizeof(*order);
	return w->busy ? 0 : -EPIPE;
}

static void order_cache(struct kept_writer *w, struct keep_order *order)
{
	order->kind = KEEP_ORDER_CACHE;
	snprintf(order->id, sizeof(order->id), "%s", w->id);
	snprintf(order->path, sizeof(order->path), "%s", w->kept->path);
	send_order(w, order);
}

static int on_written(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct kept_writer *w = data;
	struct keep_written m = { 0 };
	ssize_t n = recv(fd, &m, sizeof(m), MSG_DONTWAIT);
	bool out = w->out[0];

	(void)source;
	(void)events;
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n != sizeof(m) || m.size != sizeof(m)) {
		m = (struct keep_written){ .error = -ECONNRESET, .words = "the process that writes it died" };
		w->busy = false;
	}
	m.words[sizeof(m.words) - 1] = '\0';
	/* the image that somebody waits for comes first */
	if (out) {
		w->out[0] = '\0';
		answer_waiters(w, &m);
	} else {
		entered(w, &m);
	}
	if (out && w->id[0] && w->busy)
		return 0;
	w->busy = false;
	kept_writer_free(w);
	return 0;
}

static bool is_worth_it(const struct kept *k, const struct template *t, uint64_t ns)
{
	/* a build that waits costs time, one that fills the processors costs them; what nobody asked for is not kept (variant.h) */
	return !t->request->variant && !k->off && k->path[0] && ns >= k->server->config->keep_above_ns &&
	       config_keeps(k->server->config, t->request->argv[0]);
}

bool kept_writer_go(struct kept_writer *w, struct template *t, const struct request *req, uint64_t cpu_ns)
{
	struct keep_order order = { .created_ns = t->created_ns, .build_ns = t->build_ns };
	uint64_t cost = t->build_ns > cpu_ns ? t->build_ns : cpu_ns;

	w->template_id = t->id;
	snprintf(w->label, sizeof(w->label), "%s", t->label);
	if (is_worth_it(w->kept, t, cost) && keep_folder_new_id(w->id) < 0)
		w->id[0] = '\0';
	if (req->out)
		snprintf(w->out, sizeof(w->out), "%s", req->out);
	if ((!w->id[0] && !w->out[0]) ||
	    sd_event_add_io(w->kept->server->event, &w->io, w->sock, EPOLLIN, on_written, w) < 0) {
		kept_writer_free(w);
		return false;
	}
	if (w->out[0]) {
		order.kind = KEEP_ORDER_OUT;
		snprintf(order.path, sizeof(order.path), "%s", w->out);
		send_order(w, &order);
	}
	/* from here on: what comes into the folder is its own */
	snprintf(t->kept, sizeof(t->kept), "%s", w->id);
	if (w->id[0])
		order_cache(w, &order);
	return true;
}

bool kept_writer_wait(struct kept_writer *w, struct connection *c)
{
	if (!w->out[0] || array_reserve(&w->waiters, w->nwaiters, 1, sizeof(struct connection *)) < 0)
		return false;
	w->waiters[w->nwaiters++] = c;
	return true;
}

void kept_writers_forget(struct kept *k, const struct connection *c)
{
	for (struct kept_writer *w = k->writers; w; w = w->next) {
		unsigned int n = 0;

		for (unsigned int i = 0; i < w->nwaiters; i++)
			if (w->waiters[i] != c)
				w->waiters[n++] = w->waiters[i];
		w->nwaiters = n;
	}
}

void kept_stop_writers(struct kept *k)
{
	while (k->writers)
		kept_writer_free(k->writers);
}

bool kept_writer_is_process(const struct kept *k, pid_t pid)
{
	for (const struct kept_writer *w = k->writers; w; w = w->next)
		if (w->pid == pid)
			return true;
	return false;
}

bool kept_writer_has(const struct kept *k, const char *id)
{
	for (const struct kept_writer *w = k->writers; w; w = w->next)
		if (strcmp(w->id, id) == 0)
			return true;
	return false;
}

/* an image that somebody waits for is still made */
static void drop(struct kept_writer *w)
{
	w->dropped = true;
	if (!w->out[0])
		kept_writer_free(w);
}

void kept_writer_drop(struct kept *k, const struct template *t)
{
	struct kept_writer *next;

	for (struct kept_writer *w = k->writers; w; w = next) {
		next = w->next;
		if (w->template_id == t->id)
			drop(w);
	}
}

void kept_writers_drop_named(struct kept *k, const char *label)
{
	struct kept_writer *next;

	for (struct kept_writer *w = k->writers; w; w = next) {
		next = w->next;
		if (!template_of(w) && (!label || strcmp(w->label, label) == 0))
			drop(w);
	}
}
