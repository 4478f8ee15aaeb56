/* SPDX-License-Identifier: MIT */
/* libwarm_launch.c - warm_launch(): libwarm.h */
#include "launcher/libwarm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "engine/base/basket.h"
#include "engine/base/fd.h"
#include "engine/base/packet.h"
#include "engine/base/pidfd.h"
#include "launcher/context.h"
#include "launcher/libwarm_lease.h"

#define NFDS 4 /* stdin, stdout, stderr, directory */

struct libwarm_launch {
	struct warm_launch_options o;
	struct libwarm_message *message;
	int fds[NFDS]; /* the last is owned */
	int basket; /* they are in it while warmd is asked */
	struct call call;
};

/* Return: 0, or a negative errno. What a newer program sets and this library does not know is refused */
static int take_options(struct warm_launch_options *o, const struct warm_launch_options *from,
			struct error *err)
{
	if (!from || from->size < sizeof(*o))
		return error_set(err, EINVAL, "size in the launch options is too small");
	for (size_t i = sizeof(*o); i < from->size; i++)
		if (((const char *)from)[i])
			return error_set(err, E2BIG,
					 "the launch options ask for what this libwarm does not know");
	*o = *from;
	if (!o->template_name || !o->template_name[0])
		return error_set(err, EINVAL, "no template was named");
	if (o->argv && !o->argv[0])
		return error_set(err, EINVAL, "argv is empty: not even the program's name is there");
	return 0;
}

static int open_directory(const char *path, struct error *err)
{
	int fd = open(path ? path : ".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return error_errno(err, errno, "the working directory %s", path ? path : "");
	/* the clone's fchdir(2) would be refused; who is there already may stay */
	if (path && faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0) {
		int code = errno;

		close(fd);
		return error_errno(err, code, "the working directory %s", path);
	}
	return fd;
}

/* --- the message ------------------------------------------------------------------- */

static struct libwarm_message *message_get(struct warm *w)
{
	struct libwarm_message *m;

	pthread_mutex_lock(&w->lock);
	m = w->messages;
	if (m)
		w->messages = m->next;
	pthread_mutex_unlock(&w->lock);
	return m ? m : malloc(sizeof(*m));
}

/* with the lock held */
static void message_put(struct warm *w, struct libwarm_message *m)
{
	m->next = w->messages;
	w->messages = m;
}

/* Return: behind the copy, or NULL when it does not fit or @at is NULL */
static char *put(char *at, const char *end, const char *text)
{
	size_t len = strlen(text) + 1;

	if (!at || len > (size_t)(end - at))
		return NULL;
	memcpy(at, text, len);
	return at + len;
}

static char *put_all(char *at, const char *end, char *const *words, uint32_t *ret_count)
{
	uint32_t n = 0;

	for (; at && words && words[n]; n++)
		at = put(at, end, words[n]);
	*ret_count = n;
	return at;
}

static int fill_strings(struct libwarm_launch *l, struct error *err)
{
	const struct warm_launch_options *o = &l->o;
	struct wire_run *run = (struct wire_run *)l->message->bytes;
	char *start = (char *)(run + 1), *at;
	const char *end = (char *)l->message->bytes + sizeof(l->message->bytes);

	at = put(start, end, o->template_name);
	at = put(at, end, ""); /* readiness point */
	at = put(at, end, ""); /* the directory comes as a descriptor */
	at = put_all(at, end, o->argv, &run->argc);
	at = put_all(at, end, o->envp, &run->envc);
	if (!at)
		return error_set(err, E2BIG, "arguments and environment are larger than %u bytes",
				 WIRE_MAX_SIZE);
	run->flags = (o->argv ? 0u : WIRE_LAUNCH_APPEND) | (o->envp ? WIRE_LAUNCH_ENV : 0u);
	run->strings_size = (uint32_t)(at - start);
	run->header.size = (uint32_t)(at - (char *)run);
	return 0;
}

static int fill(const struct warm *w, struct libwarm_launch *l, struct error *err)
{
	struct wire_run *run = (struct wire_run *)l->message->bytes;

	*run = w->context;
	for (int i = 0; i < 3; i++) {
		l->fds[i] = l->o.fds[i];
		if (l->fds[i] == -1) {
			l->fds[i] = w->null_fd;
			run->stdio[i] = w->null_kind;
			run->stdio_blksize[i] = w->null_blksize;
			continue;
		}
		context_stdio(run, i, l->fds[i]);
		if (run->stdio[i] == WIRE_STDIO_CLOSED)
			return error_set(err, EBADF, "descriptor %d, to be the clone's %d, is not open",
					 l->fds[i], i);
	}
	return fill_strings(l, err);
}

/* --- sending, and what becomes of it --------------------------------------------------- */

/* the other end is gone, and the packet was not queued */
static bool not_sent(int r)
{
	return r == -EPIPE || r == -ECONNRESET || r == -ENOTCONN || r == -ECONNREFUSED;
}

/*
 * Descriptors that are on their way, those in warmd's own messages too, count for the user, and no unprivileged process may
 * send any while they are more than its RLIMIT_NOFILE (unix(7), ETOOMANYREFS). They arrive soon.
 */
static int send_patiently(struct libwarm_connection *conn, struct libwarm_launch *l)
{
	struct iovec piece = { l->message->bytes, ((struct wire_run *)l->message->bytes)->header.size };
	const struct timespec ms = { 0, 1000000 };
	int r;

	l->basket = basket_fill(l->fds, NFDS);
	r = l->basket < 0 ? l->basket : packet_send(conn->fd, &piece, 1, &l->basket, 1, 0);
	for (unsigned int waited = 0; r == -ETOOMANYREFS && waited < CONNECT_MS; waited++) {
		nanosleep(&ms, NULL);
		if (l->basket < 0)
			l->basket = basket_fill(l->fds, NFDS);
		r = l->basket < 0 ? l->basket : packet_send(conn->fd, &piece, 1, &l->basket, 1, 0);
	}
	return r;
}

static int send_message(struct warm *w, struct libwarm_launch *l, struct libwarm_connection *conn,
			struct error *err)
{
	int r;

	pthread_mutex_unlock(&w->lock);
	r = send_patiently(conn, l);
	pthread_mutex_lock(&w->lock);
	if (r == 0 || not_sent(r))
		return r;
	if (r == -EAGAIN)
		return error_set(err, ETIMEDOUT, "warmd does not take the message (waited %u ms)",
				 CONNECT_MS);
	return error_errno(err, r, "cannot send to warmd");
}

/*
 * Once, with the lock held.
 * @ret_again: there was no connection any more, and warmd for sure did not take the launch from it
 * Return: 0 with *ret launched; a negative errno with *err set
 */
static int ask(struct warm *w, struct libwarm_launch *l, struct libwarm_clone **ret, bool *ret_again,
	       struct error *err)
{
	struct libwarm_connection *conn;
	struct libwarm_clone *cl;
	int r;

	*ret_again = false;
	r = w->connection ? 0 : handle_connect(w, err);
	if (r < 0)
		return r;
	cl = libwarm_clone_new(w, &l->call);
	if (!cl)
		return error_set(err, ENOMEM, "no memory");
	conn = w->connection;
	conn->refs++;
	l->basket = -EBADF;
	call_begin(w, &l->call);
	((struct wire_run *)l->message->bytes)->tag = cl->tag;
	((struct wire_run *)l->message->bytes)->leases = lease_wanted(w);
	r = send_message(w, l, conn, err);
	if (not_sent(r)) {
		call_drain(w, &l->call, conn);
		l->call.unread = true;
	} else if (r == 0 && call_await(w, &l->call, cl, CLONE_ASKED, w->launch_ms) < 0) {
		r = error_set(err, ETIMEDOUT, "warmd does not answer (waited %u ms)", w->launch_ms);
		/* it has not begun with it, and will not: there is no answer to come */
		if (basket_take_back(l->basket)) {
			libwarm_clone_unlink_asked(w, cl);
			libwarm_clone_free(w, cl);
			goto out;
		}
		cl->state = CLONE_ABANDONED;
		cl->call = NULL;
		goto out;
	}
	if (cl->state == CLONE_ASKED) { /* it could not be sent */
		libwarm_clone_unlink_asked(w, cl);
		libwarm_clone_free(w, cl);
	} else if (cl->state == CLONE_FAILED) {
		if (r == 0 || not_sent(r)) {
			*err = l->call.err;
			r = err->code;
		}
		*ret_again = l->call.unread;
		libwarm_clone_free(w, cl);
	} else {
		cl->call = NULL;
		*ret = cl;
		r = 0;
	}
out:
	l->basket = fd_close(l->basket);
	call_end(w, &l->call);
	libwarm_connection_put(conn);
	return r;
}

/*
 * The pidfd did not arrive, as this process has too many descriptors open. The directory's makes room for one.
 * Return: a pidfd; -EMFILE with *err set: the clone is not there any more
 */
static int open_late(struct warm *w, struct libwarm_launch *l, struct libwarm_clone *cl, struct error *err)
{
	int pidfd;

	l->fds[3] = fd_close(l->fds[3]);
	pidfd = pidfd_open_process(cl->pid);
	if (pidfd >= 0)
		return pidfd;
	if (cl->state != CLONE_ENDED)
		libwarm_clone_kill(-EBADF, cl->pid);
	libwarm_clone_leave(w, cl);
	return error_set(err, EMFILE,
			 "no descriptor is free for the clone's pidfd (ulimit -n), and so it was ended");
}

/* who has the pidfd: the caller, the record (for when warmd dies), or both. With the lock held */
static int place_pidfd(struct warm *w, struct libwarm_launch *l, struct libwarm_clone *cl, int *ret_pidfd,
		       struct error *err)
{
	bool keep = cl->state != CLONE_ENDED;
	int fd = l->call.pidfd;

	if (ret_pidfd) {
		if (fd < 0)
			fd = open_late(w, l, cl, err);
		if (fd < 0)
			return fd;
		/* without one warm_wait() cannot do without warmd; that is better than EMFILE in the program */
		if (keep && fd < w->fd_budget)
			cl->pidfd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		*ret_pidfd = fd;
	} else if (keep && fd < w->fd_budget) {
		cl->pidfd = fd;
	} else {
		fd_close(fd);
	}
	return 0;
}

static int launch(struct warm *w, struct libwarm_launch *l, pid_t *ret_pid, int *ret_pidfd, struct error *err)
{
	struct libwarm_clone *cl;
	bool again = false;
	int r = 0;

	pthread_mutex_lock(&w->lock);
	cl = lease_launch(w, (struct wire_run *)l->message->bytes, l->fds, NFDS, &l->call.pidfd);
	if (!cl)
		r = ask(w, l, &cl, &again, err);
	if (r < 0 && again)
		r = ask(w, l, &cl, &again, err);
	if (r == 0) {
		pid_t pid = cl->pid;

		r = place_pidfd(w, l, cl, ret_pidfd, err);
		if (r == 0 && ret_pid)
			*ret_pid = pid;
	}
	message_put(w, l->message);
	pthread_mutex_unlock(&w->lock);
	return r;
}

static int prepare(struct warm *w, struct libwarm_launch *l, struct error *err)
{
	int r;

	l->message = message_get(w);
	if (!l->message)
		return error_set(err, ENOMEM, "no memory");
	r = fill(w, l, err);
	if (r == 0) {
		l->fds[3] = open_directory(l->o.cwd, err);
		r = l->fds[3] < 0 ? l->fds[3] : 0;
	}
	if (r < 0) {
		pthread_mutex_lock(&w->lock);
		message_put(w, l->message);
		pthread_mutex_unlock(&w->lock);
	}
	return r;
}

EXPORT int warm_launch(struct warm *w, const struct warm_launch_options *o, pid_t *ret_pid, int *ret_pidfd)
{
	struct error err;
	struct libwarm_launch l;
	int r, cancel;

	/* a thread that is cancelled while it reads for others would leave them waiting */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel);
	r = handle_check(w, &err);
	if (r == 0)
		r = take_options(&l.o, o, &err);
	if (r == 0)
		r = prepare(w, &l, &err);
	if (r == 0) {
		r = launch(w, &l, ret_pid, ret_pidfd, &err);
		fd_close(l.fds[3]);
	}
	if (r < 0)
		r = handle_fail(w, &err);
	pthread_setcancelstate(cancel, NULL);
	return r;
}
