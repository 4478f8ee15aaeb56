/* SPDX-License-Identifier: MIT */
#include "warmd/pool/attach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "warmd/connection/peer.h"
#include "warmd/pool/pool.h"
#include "warmd/pool/terminal.h"

static struct wire_attached new_answer(uint32_t pid)
{
	return (struct wire_attached){
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_ATTACHED,
			    .size = sizeof(struct wire_attached) },
		.pid = pid,
	};
}

static void answer(struct connection *c, const struct wire_attached *a, const int *fds, size_t nfds)
{
	int r = connection_send(c, a, sizeof(*a), fds, nfds);

	if (r < 0) {
		log_debug("process %u is not answered: %s", c->pid, strerror(-r));
		connection_end(c);
	}
}

__attribute__((format(printf, 4, 5))) static void refuse(struct connection *c, uint32_t pid, int error,
							 const char *format, ...)
{
	struct wire_attached a = new_answer(pid);
	va_list ap;

	a.error = error;
	va_start(ap, format);
	vsnprintf(a.reason, sizeof(a.reason), format, ap);
	va_end(ap);
	answer(c, &a, NULL, 0);
}

static struct clone *find_clone(const struct pools *all, uint32_t pid)
{
	for (struct clone *cl = all->running; cl; cl = cl->next)
		if (cl->pid == (pid_t)pid || cl->leader == (pid_t)pid)
			return cl;
	return NULL;
}

/* of a clone that runs, or of the last one that had this PID */
static struct terminal *find_ended(const struct pools *all, uint32_t pid)
{
	for (struct terminal *t = all->terminals; t; t = t->next)
		if (t->pid == (pid_t)pid)
			return t;
	return NULL;
}

/* what the session's leader said while nobody listened */
static void forget_old_notes(const struct terminal *t)
{
	char note[64];

	while (recv(t->session, note, sizeof(note), MSG_DONTWAIT) > 0)
		;
}

static void become_writer(struct terminal *t, struct connection *c, struct packet *caller)
{
	forget_old_notes(t);
	ring_set_raw(&t->ring, false);
	t->writer = c;
	if (t->pump)
		sd_event_source_set_enabled(t->pump, SD_EVENT_OFF);
	t->caller = caller->nfds ? caller->fds[0] : -EBADF;
	caller->nfds = 0;
	if (t->caller >= 0 && tcgetattr(t->caller, &t->caller_settings) < 0)
		t->caller = fd_close(t->caller);
}

static void attach(struct connection *c, const struct wire_attach *m, struct terminal *t, struct clone *cl,
		   struct packet *caller)
{
	struct wire_attached a = new_answer((uint32_t)t->pid);
	int fds[1 + WIRE_TERMINAL_FDS];
	size_t n = 0;
	bool write = cl && !t->ended && !t->writer && !(m->flags & (WIRE_ATTACH_VIEW | WIRE_ATTACH_RECORD));

	if (write)
		become_writer(t, c, caller);
	else
		a.writer = t->writer ? t->writer->pid : 0;
	c->terminal = t;
	if (!(m->flags & WIRE_ATTACH_RECORD))
		fds[n++] = cl->pidfd;
	n += terminal_descriptors(t, write, fds + n);
	a.ended = t->ended;
	a.nfds = (uint32_t)n;
	snprintf(a.reason, sizeof(a.reason), "%s", t->label);
	answer(c, &a, fds, n);
}

int attach_request(struct pools *all, struct connection *c, const void *packet, size_t len,
		   struct packet *caller)
{
	const struct wire_attach *m = packet;
	struct error err = { 0 };
	struct terminal *t;
	struct clone *cl;
	bool record;

	if (len != sizeof(*m) || caller->nfds > 1 || c->terminal)
		return -EBADMSG;
	record = m->flags & WIRE_ATTACH_RECORD;
	cl = find_clone(all, m->pid);
	t = cl ? cl->terminal : find_ended(all, m->pid);
	/* whoever writes to a clone has its rights, and what it prints may be what it alone may read */
	if (peer_check(c, &err) < 0)
		refuse(c, m->pid, EACCES, "%.200s", err.text);
	else if (!cl && !t)
		refuse(c, m->pid, ESRCH, "process %u is no clone of warmd's ('warm ps' lists them)", m->pid);
	else if (!t || !t->listed)
		refuse(c, m->pid, ENOTTY,
		       "clone %u has no terminal of its own: it was not launched from one, and what it prints goes where "
		       "its launch's output went",
		       m->pid);
	else if (!record && (!cl || t->ended))
		refuse(c, m->pid, ESRCH, "clone %u has ended ('warm logs %u' has what it printed)", m->pid,
		       m->pid);
	else if (!(m->flags & (WIRE_ATTACH_RECORD | WIRE_ATTACH_VIEW)) && t->master < 0)
		refuse(c, m->pid, EIO, "the terminal of clone %u was hung up: who launched it went away",
		       m->pid);
	else
		attach(c, m, t, cl, caller);
	return 0;
}

int detach_request(struct pools *all, struct connection *c, const void *packet, size_t len)
{
	const struct wire_detach *m = packet;
	struct clone *cl = len == sizeof(*m) ? find_clone(all, m->pid) : NULL;

	if (len != sizeof(*m))
		return -EBADMSG;
	/* only who launched it decides whether it lives on; others just go */
	if (cl && cl->connection == c) {
		cl->detached = true;
		if (cl->terminal)
			cl->terminal->kept = true;
	}
	return 0;
}
