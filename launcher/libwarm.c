/* SPDX-License-Identifier: MIT */
/* libwarm.c - the handle: libwarm.h */
#include "launcher/libwarm.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "launcher/client.h"
#include "launcher/context.h"
#include "launcher/libwarm_lease.h"

/* the last failure of a call of this thread */
static __thread struct {
	const struct warm *of;
	char text[sizeof(((struct error *)0)->text)];
} last;

int handle_fail(struct warm *w, const struct error *err)
{
	memcpy(last.text, err->text, sizeof(last.text));
	last.of = w;
	if (w && w->owner == getpid()) {
		pthread_mutex_lock(&w->lock);
		memcpy(w->words, err->text, sizeof(w->words));
		pthread_mutex_unlock(&w->lock);
	}
	return err->code;
}

EXPORT const char *warm_error(struct warm *w)
{
	if (w && last.of != w && w->owner == getpid()) {
		pthread_mutex_lock(&w->lock);
		memcpy(last.text, w->words, sizeof(last.text));
		pthread_mutex_unlock(&w->lock);
	}
	return last.text;
}

int handle_check(struct warm *w, struct error *err)
{
	if (!w)
		return error_set(err, EINVAL, "no handle");
	/* the socket is shared with the parent: each would get answers of the other */
	if (w->owner != getpid())
		return error_set(err, ECHILD, "the handle was opened by process %d, before fork()",
				 (int)w->owner);
	return 0;
}

/* --- open and close ----------------------------------------------------------- */

void libwarm_connection_put(struct libwarm_connection *c)
{
	if (--c->refs)
		return;
	lease_drop_all(c);
	close(c->fd);
	free(c);
}

int handle_connect(struct warm *w, struct error *err)
{
	const struct timeval bound = { .tv_sec = w->launch_ms / 1000,
				       .tv_usec = (w->launch_ms % 1000) * 1000 };
	struct libwarm_connection *c = calloc(1, sizeof(*c));
	int fd;

	if (!c)
		return error_set(err, ENOMEM, "no memory");
	fd = client_connect_to(w->path, CONNECT_MS, err);
	/* as from a leader's beginning to receive: launches give up then */
	if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof(bound)) < 0) {
		error_errno(err, errno, "cannot set a time-out");
		fd_close(fd);
		fd = -EIO;
	}
	if (fd < 0) {
		free(c);
		/* ENOENT is kept for templates */
		return fd == -ENOENT ? (err->code = -ECONNREFUSED) : fd;
	}
	c->fd = fd;
	c->refs = 1;
	w->connection = c;
	return 0;
}

/* umask(2) cannot ask without changing it for other threads. "Umask:" is there since Linux 4.7 */
static uint32_t current_umask(void)
{
	_cleanup_free_ char *status = NULL;
	const char *line = NULL;
	mode_t mask;

	if (read_file("/proc/thread-self/status", &status, NULL) == 0)
		line = strstr(status, "\nUmask:");
	if (line)
		return (uint32_t)strtoul(line + sizeof("\nUmask:") - 1, NULL, 8);
	mask = umask(0);
	umask(mask);
	return mask;
}

static int collect(struct warm *w, struct error *err)
{
	struct libwarm_message *m = malloc(sizeof(*m));
	struct rlimit files;

	if (!m)
		return error_set(err, ENOMEM, "no memory");
	if (context_process(&w->context, m->bytes, sizeof(m->bytes)) < 0) {
		int code = errno;

		free(m);
		return error_errno(err, code, "the launch context");
	}
	m->next = NULL;
	w->messages = m;
	w->context.umask = current_umask();
	w->context.inherited_fds[0] = 7; /* 0, 1, 2 */
	w->context.header = (struct wire_header){ .magic = WIRE_MAGIC,
						  .version = WIRE_VERSION_NUMBER,
						  .type = WIRE_LAUNCH };
	w->fd_budget = getrlimit(RLIMIT_NOFILE, &files) < 0 || files.rlim_cur > 1u << 30
			       ? 1 << 29
			       : (int)(files.rlim_cur / 2);
	return 0;
}

static int find_path(struct warm *w, const char *socket_path, struct error *err)
{
	struct runtime_dir dir;
	int r;

	if (socket_path) {
		size_t len = strlen(socket_path);

		if (len == 0 || len >= sizeof(w->path))
			return error_set(err, len ? ENAMETOOLONG : EINVAL,
					 "'%s' cannot be a socket's address", socket_path);
		memcpy(w->path, socket_path, len + 1);
		return 0;
	}
	r = runtime_dir_find(&dir, err);
	if (r < 0)
		return r;
	r = runtime_dir_path(&dir, WIRE_SOCKET, w->path, sizeof(w->path));
	return r < 0 ? error_errno(err, r, "%s/" WIRE_SOCKET, dir.path) : 0;
}

/* never 0, 1 or 2: where the program has closed those, it must not find this */
static int open_null(struct warm *w, struct error *err)
{
	struct wire_run run = { .rows = 0 };
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	w->null_fd = fd < 0 || fd > 2 ? fd : fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (w->null_fd != fd)
		fd_close(fd);
	if (w->null_fd < 0)
		return error_errno(err, errno, "cannot open /dev/null");
	context_stdio(&run, 0, w->null_fd);
	w->null_kind = run.stdio[0];
	w->null_blksize = run.stdio_blksize[0];
	return 0;
}

int handle_open(struct warm **ret, const char *socket_path, unsigned int launch_ms, struct error *err)
{
	struct warm *w = calloc(1, sizeof(*w));
	int r;

	if (!w)
		return error_set(err, ENOMEM, "no memory");
	pthread_mutex_init(&w->lock, NULL);
	w->owner = getpid();
	w->launch_ms = launch_ms;
	w->null_fd = w->mounts_fd = -EBADF;
	r = find_path(w, socket_path, err);
	if (r == 0)
		r = collect(w, err);
	if (r == 0)
		r = open_null(w, err);
	if (r == 0)
		r = handle_connect(w, err);
	if (r < 0) {
		warm_close(w);
		return r;
	}
	*ret = w;
	return 0;
}

EXPORT int warm_open(struct warm **ret, const char *socket_path)
{
	struct error err = { 0 };

	if (!ret) {
		error_set(&err, EINVAL, "nowhere to put the handle");
		return handle_fail(NULL, &err);
	}
	if (handle_open(ret, socket_path, LAUNCH_MS, &err) < 0)
		return handle_fail(NULL, &err);
	if (last.of == *ret) /* a handle that was closed had this address */
		last.of = NULL;
	return 0;
}

EXPORT void warm_close(struct warm *w)
{
	if (!w)
		return;
	if (w->connection) {
		/* also where a child made by fork() has it open; in that child it is still the parent's */
		if (w->owner == getpid())
			shutdown(w->connection->fd, SHUT_RDWR);
		libwarm_connection_put(w->connection);
	}
	fd_close(w->null_fd);
	fd_close(w->mounts_fd);
	while (w->chunks) {
		struct libwarm_clone_chunk *chunk = w->chunks;

		w->chunks = chunk->next;
		for (unsigned int i = 0; i < CLONE_CHUNK; i++)
			fd_close(chunk->clones[i].pidfd);
		free(chunk);
	}
	while (w->messages) {
		struct libwarm_message *m = w->messages;

		w->messages = m->next;
		free(m);
	}
	if (w->owner == getpid())
		pthread_mutex_destroy(&w->lock);
	free(w);
}

/* --- records ------------------------------------------------------------------- */

static bool more_clones(struct warm *w)
{
	struct libwarm_clone_chunk *chunk = calloc(1, sizeof(*chunk));

	if (!chunk)
		return false;
	chunk->next = w->chunks;
	w->chunks = chunk;
	for (unsigned int i = 0; i < CLONE_CHUNK; i++) {
		chunk->clones[i].pidfd = -EBADF;
		libwarm_clone_free(w, &chunk->clones[i]);
	}
	return true;
}

struct libwarm_clone *libwarm_clone_new(struct warm *w, struct call *call)
{
	struct libwarm_clone *cl;

	if (!w->unused && !more_clones(w))
		return NULL;
	cl = w->unused;
	w->unused = cl->next;
	/* 0 is none: WIRE_TAKEN */
	if (++w->next_tag == 0)
		w->next_tag = 1;
	*cl = (struct libwarm_clone){ .next = w->asked, .call = call, .tag = w->next_tag, .pidfd = -EBADF };
	w->asked = cl;
	return cl;
}

struct libwarm_clone *libwarm_clone_find_asked(struct warm *w, uint32_t tag)
{
	struct libwarm_clone *cl = w->asked;

	while (cl && cl->tag != tag)
		cl = cl->next;
	return cl;
}

static void unlink_from(struct libwarm_clone **list, const struct libwarm_clone *cl)
{
	while (*list != cl)
		list = &(*list)->next;
	*list = cl->next;
}

void libwarm_clone_unlink_asked(struct warm *w, struct libwarm_clone *cl)
{
	unlink_from(&w->asked, cl);
	cl->next = NULL;
}

struct libwarm_clone **libwarm_clone_bucket(struct warm *w, pid_t pid)
{
	return &w->clones[(unsigned int)pid % CLONE_BUCKETS];
}

void libwarm_clone_enter(struct warm *w, struct libwarm_clone *cl)
{
	struct libwarm_clone **at = libwarm_clone_bucket(w, cl->pid);

	while (*at)
		at = &(*at)->next;
	cl->next = NULL;
	*at = cl;
}

void libwarm_clone_leave(struct warm *w, struct libwarm_clone *cl)
{
	unlink_from(libwarm_clone_bucket(w, cl->pid), cl);
	libwarm_clone_free(w, cl);
}

void libwarm_clone_free(struct warm *w, struct libwarm_clone *cl)
{
	cl->pidfd = fd_close(cl->pidfd);
	cl->call = NULL;
	cl->next = w->unused;
	w->unused = cl;
}
