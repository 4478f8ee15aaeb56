/* SPDX-License-Identifier: MIT */
/* libwarm_reader.c - what comes from warmd, and to whom it goes: libwarm.h */
#include "launcher/libwarm.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/packet.h"
#include "engine/base/pidfd.h"
#include "launcher/libwarm_lease.h"

/* what warmd sends, in warm.incoming */
union incoming {
	struct wire_header header;
	struct wire_run_reply reply;
	struct wire_exited exited;
	struct wire_model model;
	struct wire_lease lease;
};
#define INCOMING (WIRE_MODEL_MAX + 1) /* one byte more than the largest, to see that a packet is larger */

void libwarm_clone_kill(int pidfd, pid_t pid)
{
	/*
	 * Without a pidfd the PID must do: this follows within microseconds of warmd's word that it is the
	 * clone's, and the kernel gives a PID out again only after all others had their turn.
	 */
	if (pidfd >= 0)
		pidfd_kill(pidfd, pid, SIGKILL, false);
	else
		kill(pid, SIGKILL);
}

static void wake(struct libwarm_clone *cl)
{
	if (cl->call)
		pthread_cond_signal(&cl->call->wake);
}

static void fail(struct libwarm_clone *cl)
{
	cl->state = CLONE_FAILED;
	wake(cl);
}

/* --- the connection's end --------------------------------------------------------- */

static void lose_asked(struct warm *w, bool unread, const struct error *why)
{
	while (w->asked) {
		struct libwarm_clone *cl = w->asked;

		libwarm_clone_unlink_asked(w, cl);
		if (!cl->call) {
			libwarm_clone_free(w, cl);
			continue;
		}
		cl->call->err = *why;
		cl->call->unread = unread;
		fail(cl);
	}
}

/* the connection is of no use: launches fail, ends are told by pidfds from here on */
static void lose(struct warm *w, struct libwarm_connection *conn, const struct error *why)
{
	/*
	 * ECONNRESET: warmd closed its end with something unread (unix_release_sock() in Linux). Packets are
	 * read in order and answered one by one, so if one launch alone has no answer, it is the one.
	 */
	bool unread = conn->reset && w->asked && !w->asked->next;

	/* other threads that send on it find out */
	shutdown(conn->fd, SHUT_RDWR);
	conn->lost = true;
	lease_drop_all(conn);
	w->connection = NULL;
	libwarm_connection_put(conn);
	lose_asked(w, unread, why);
	for (unsigned int i = 0; i < CLONE_BUCKETS; i++)
		for (struct libwarm_clone *cl = w->clones[i]; cl; cl = cl->next)
			if (cl->state == CLONE_RUNNING)
				cl->state = CLONE_ORPHAN;
	for (struct call *c = w->calls; c; c = c->next)
		pthread_cond_signal(&c->wake);
}

static void lose_malformed(struct warm *w, struct libwarm_connection *conn, const char *what)
{
	struct error err;

	error_set(&err, EBADMSG,
		  "the answer of warmd makes no sense (%s); it may have launched what was asked for", what);
	lose(w, conn, &err);
}

static void lose_closed(struct warm *w, struct libwarm_connection *conn)
{
	struct error err;

	error_set(&err, ECONNRESET,
		  "warmd closed the connection before it answered; it may have launched what was asked for");
	lose(w, conn, &err);
}

/* --- packets ------------------------------------------------------------------------- */

static const struct {
	int error;
	const char *words; /* when warmd has none */
} statuses[] = {
	[WIRE_COLD_NONE] = { ENOENT, "there is no such template" },
	[WIRE_COLD_BUILDING] = { EAGAIN, "the template is being built" },
	[WIRE_COLD_STALE] = { EAGAIN, "the template went stale" },
	[WIRE_COLD_REFUSED] = { EOPNOTSUPP, "the program cannot be a template" },
	[WIRE_COLD_MISMATCH] = { EACCES, "the template does not fit this launch" },
	[WIRE_COLD_BUDGET] = { ENOSPC, "the memory budget is used up" },
	[WIRE_COLD_ERROR] = { EIO, "warmd failed" },
	[WIRE_COLD_DISABLED] = { EPERM, "the configuration disables it" },
	[WIRE_COLD_WAITS] = { EAGAIN, "the next build waits" },
	[WIRE_COLD_RIGHTS] = { EACCES, "this process has other rights than warmd" },
};
_Static_assert(sizeof(statuses) / sizeof(statuses[0]) == WIRE_LAUNCHED,
	       "what warmd answers, all but WIRE_LAUNCHED");

/* Return: false: the kernel would not have made it so, or warmd not have said it */
static bool reply_valid(const struct wire_run_reply *reply, size_t nfds, bool fds_lost)
{
	if (reply->status == WIRE_LAUNCHED)
		return reply->nfds == 1 && nfds == !fds_lost && reply->pid > 0 && reply->pid <= INT32_MAX;
	return reply->status > WIRE_WARM && reply->status < WIRE_LAUNCHED && reply->nfds == 0 && nfds == 0 &&
	       !fds_lost;
}

/* where the program has closed 0, 1 or 2, it must not find this. Return: a descriptor; negative errno */
static int above_stdio(int fd)
{
	int up;

	if (fd > 2)
		return fd;
	up = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (up < 0)
		up = -errno;
	close(fd);
	return up;
}

/* @pidfd: taken over; negative errno when it did not arrive */
static void launched(struct warm *w, struct libwarm_clone *cl, pid_t pid, int pidfd)
{
	libwarm_clone_unlink_asked(w, cl);
	if (!cl->call) { /* ABANDONED: its caller was told that there is none */
		if (!cl->exited)
			libwarm_clone_kill(pidfd, pid);
		fd_close(pidfd);
		libwarm_clone_free(w, cl);
		return;
	}
	cl->pid = pid;
	cl->call->pidfd = pidfd;
	cl->state = cl->exited ? CLONE_ENDED : CLONE_RUNNING;
	libwarm_clone_enter(w, cl);
	wake(cl);
}

static void refused(struct warm *w, struct libwarm_clone *cl, struct wire_run_reply *reply)
{
	libwarm_clone_unlink_asked(w, cl);
	if (!cl->call) {
		libwarm_clone_free(w, cl);
		return;
	}
	reply->reason[sizeof(reply->reason) - 1] = '\0';
	error_set(&cl->call->err, statuses[reply->status].error, "%s",
		  reply->reason[0] ? reply->reason : statuses[reply->status].words);
	fail(cl);
}

static void on_reply(struct warm *w, struct libwarm_connection *conn, struct wire_run_reply *reply,
		     struct packet *p, bool fds_lost)
{
	struct libwarm_clone *cl = libwarm_clone_find_asked(w, reply->tag);

	lease_answered(conn, reply->tag);
	if (!cl) {
		lose_malformed(w, conn, "to a launch that nobody asked for");
	} else if (!reply_valid(reply, p->nfds, fds_lost)) {
		lose_malformed(w, conn, "to a launch");
	} else if (reply->status == WIRE_LAUNCHED) {
		int pidfd = fds_lost ? -EMFILE : above_stdio(p->fds[0]);

		p->nfds = 0;
		launched(w, cl, (pid_t)reply->pid, pidfd);
	} else {
		refused(w, cl, reply);
	}
}

/* one that is not known was given up: see launched() */
static void on_exited(struct warm *w, const struct wire_exited *end)
{
	struct libwarm_clone *cl = libwarm_clone_find_asked(w, end->tag);

	if (cl) {
		cl->exited = true;
		cl->wstatus = end->wstatus;
		return;
	}
	for (cl = *libwarm_clone_bucket(w, (pid_t)end->pid); cl; cl = cl->next) {
		if (cl->state != CLONE_RUNNING || cl->pid != (pid_t)end->pid || cl->tag != end->tag)
			continue;
		cl->state = CLONE_ENDED;
		cl->wstatus = end->wstatus;
		cl->pidfd = fd_close(cl->pidfd);
		wake(cl);
		return;
	}
}

static void on_packet(struct warm *w, struct libwarm_connection *conn, union incoming *m, struct packet *p,
		      bool fds_lost)
{
	const struct wire_header *h = &m->header;
	struct error err;

	if (p->len < sizeof(*h) || h->magic != WIRE_MAGIC) {
		lose_malformed(w, conn, "no message of warm");
	} else if (h->version != WIRE_VERSION_NUMBER) {
		error_set(&err, EPROTONOSUPPORT,
			  "warmd speaks version %u of the protocol, this libwarm %u; run 'warm stop'",
			  h->version, WIRE_VERSION_NUMBER);
		lose(w, conn, &err);
	} else if (h->type == WIRE_RUN_REPLY && h->size == p->len && p->len == sizeof(m->reply)) {
		on_reply(w, conn, &m->reply, p, fds_lost);
	} else if (h->type == WIRE_EXITED && h->size == p->len && p->len == sizeof(m->exited) &&
		   p->nfds == 0 && !fds_lost) {
		on_exited(w, &m->exited);
	} else if (h->type == WIRE_MODEL && h->size == p->len && p->len >= sizeof(m->model)) {
		if (lease_model(w, conn, m, p, fds_lost) < 0)
			lose_malformed(w, conn, "a model");
	} else if (h->type == WIRE_LEASE && h->size == p->len && p->len == sizeof(m->lease)) {
		if (lease_granted(w, conn, m, p, fds_lost) < 0)
			lose_malformed(w, conn, "a lease");
	} else {
		lose_malformed(w, conn, "size or type");
	}
	packet_close_fds(p);
}

/* one packet, read without the lock. @flags: MSG_DONTWAIT: without one the connection is lost */
static void read_one(struct warm *w, int flags)
{
	struct libwarm_connection *conn = w->connection;
	union incoming *m = (union incoming *)w->incoming;
	struct packet p;
	struct error err;
	bool fds_lost = false;
	int r;

	conn->refs++;
	pthread_mutex_unlock(&w->lock);
	r = packet_receive_once(conn->fd, m, INCOMING, &p, flags);
	pthread_mutex_lock(&w->lock);
	/* the packet is whole: then its descriptors are not, because there are too many in this process (MSG_CTRUNC) */
	if (r == -EBADMSG && p.len < INCOMING) {
		fds_lost = true;
		r = 0;
	}
	if (r == -EINTR || (r == -EAGAIN && !(flags & MSG_DONTWAIT))) {
		/* a signal, or SO_RCVTIMEO: call_await() looks at the clock */
	} else if (r == -ECONNRESET && !conn->reset) {
		/* reported once, before the packets that are still there (__skb_try_recv_datagram() in Linux) */
		conn->reset = true;
	} else if (r == -EAGAIN || r == -ECONNRESET || (r == 0 && p.len == 0)) {
		if (r == 0)
			packet_close_fds(&p);
		lose_closed(w, conn);
	} else if (r == -EBADMSG) {
		lose_malformed(w, conn, "size");
	} else if (r < 0) {
		error_errno(&err, r, "cannot receive from warmd");
		lose(w, conn, &err);
	} else {
		on_packet(w, conn, m, &p, fds_lost);
	}
	libwarm_connection_put(conn);
}

/* --- calls ---------------------------------------------------------------------------- */

void call_begin(struct warm *w, struct call *c)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&c->wake, &attr);
	pthread_condattr_destroy(&attr);
	c->unread = false;
	c->pidfd = -EBADF;
	c->following = false;
	c->err.code = 0;
	c->err.text[0] = '\0';
	c->next = w->calls;
	c->at = &w->calls;
	if (c->next)
		c->next->at = &c->next;
	w->calls = c;
}

void call_end(struct warm *w, struct call *c)
{
	*c->at = c->next;
	if (c->next)
		c->next->at = c->at;
	pthread_cond_destroy(&c->wake);
	/* one that follows leads now; if it has what it waits for, it leaves, and wakes another in turn */
	for (c = w->calls; c && !w->leader; c = c->next) {
		if (c->following) {
			pthread_cond_signal(&c->wake);
			return;
		}
	}
}

static void lead(struct warm *w, struct call *c, int flags)
{
	w->leader = c;
	read_one(w, flags);
	w->leader = NULL;
}

static void follow(struct warm *w, struct call *c, uint64_t deadline)
{
	struct timespec until;

	until.tv_sec = (time_t)(deadline / 1000);
	until.tv_nsec = (long)(deadline % 1000 * NS_PER_MS);
	c->following = true;
	if (deadline)
		pthread_cond_timedwait(&c->wake, &w->lock, &until);
	else
		pthread_cond_wait(&c->wake, &w->lock);
	c->following = false;
}

int call_await(struct warm *w, struct call *c, const struct libwarm_clone *cl, enum libwarm_clone_state from,
	       unsigned int timeout_ms)
{
	uint64_t deadline = timeout_ms ? clock_ms() + timeout_ms : 0;

	while (cl->state == from) {
		if (w->leader)
			follow(w, c, deadline);
		else
			lead(w, c, 0);
		if (deadline && cl->state == from && clock_ms() >= deadline)
			return -ETIMEDOUT;
	}
	return 0;
}

void call_drain(struct warm *w, struct call *c, struct libwarm_connection *conn)
{
	while (!conn->lost) {
		if (w->leader)
			follow(w, c, 0);
		else
			lead(w, c, MSG_DONTWAIT);
	}
}
