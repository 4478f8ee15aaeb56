/* SPDX-License-Identifier: MIT */
#include "engine/swap.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

#ifndef SYS_pidfd_getfd
#define SYS_pidfd_getfd 438
#endif

/* a call that needs no more than its result. Return: that, or a negative errno with words */
static int64_t call(struct frozen_process *s, struct error *err, const char *what, long nr, uint64_t a,
		    uint64_t b, uint64_t c, uint64_t d)
{
	int64_t result;
	int r = frozen_call(s, NULL, &result, err, nr, a, b, c, d, 0, 0);

	if (r < 0)
		return r;
	if (result < 0)
		return error_errno(err, (int)result, "%s in process %d", what, s->pid);
	return result;
}

static void quiet_close(struct frozen_process *s, int *fd)
{
	int64_t ignored;

	if (*fd >= 0)
		frozen_call(s, NULL, &ignored, NULL, SYS_close, (uint64_t)*fd, 0, 0, 0, 0, 0);
	*fd = -1;
}

/* --- files into the process ------------------------------------------------- */

/* what recvmsg(2) reads and writes, as it lies in the scratch page */
struct letter {
	struct msghdr header;
	struct iovec iov;
	char byte;
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(SWAP_MAX * sizeof(int))];
	} control;
};
_Static_assert(sizeof(struct letter) <= 4096, "the least page");

/* @base: where @l is for the one who reads it */
static void letter_init(struct letter *l, uint64_t base)
{
	memset(l, 0, sizeof(*l));
	l->iov.iov_base = (void *)(base + offsetof(struct letter, byte));
	l->iov.iov_len = 1;
	l->header.msg_iov = (void *)(base + offsetof(struct letter, iov));
	l->header.msg_iovlen = 1;
	l->header.msg_control = (void *)(base + offsetof(struct letter, control));
	l->header.msg_controllen = sizeof(l->control);
}

static int send_files(const struct swap *w, int sock, struct error *err)
{
	struct cmsghdr *c;
	struct letter l;

	letter_init(&l, (uint64_t)&l);
	l.header.msg_controllen = CMSG_SPACE(w->nfiles * sizeof(int));
	c = CMSG_FIRSTHDR(&l.header);
	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(w->nfiles * sizeof(int));
	memcpy(CMSG_DATA(c), w->files, w->nfiles * sizeof(int));
	if (sendmsg(sock, &l.header, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		return error_errno(err, errno, "sending descriptors to process %d", w->s->pid);
	return 0;
}

static int receive_files(struct swap *w, int sock, uint64_t scratch, struct error *err)
{
	struct letter l;
	struct cmsghdr *c;
	size_t n = 0;
	int64_t r;

	letter_init(&l, scratch);
	r = frozen_write(w->s, scratch, &l, sizeof(l));
	if (r < 0)
		return error_errno(err, (int)r, "writing memory of process %d", w->s->pid);
	r = call(w->s, err, "receiving descriptors (recvmsg)", SYS_recvmsg, (uint64_t)sock, scratch,
		 MSG_CMSG_CLOEXEC | MSG_DONTWAIT, 0);
	if (r < 0)
		return (int)r;
	r = frozen_read(w->s, scratch, &l, sizeof(l));
	if (r < 0)
		return error_errno(err, (int)r, "reading memory of process %d", w->s->pid);
	l.header.msg_control = &l.control;
	c = l.header.msg_controllen >= sizeof(*c) ? CMSG_FIRSTHDR(&l.header) : NULL;
	if (c && c->cmsg_type == SCM_RIGHTS)
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
	if (n > w->nfiles)
		n = w->nfiles;
	if (n)
		memcpy(w->news, CMSG_DATA(c), n * sizeof(int));
	/* fewer than sent: RLIMIT_NOFILE; the caller closes those that came */
	return n == w->nfiles ? 0
			      : error_set(err, EMFILE, "process %d has no free descriptors (RLIMIT_NOFILE)",
					  w->s->pid);
}

/* a descriptor passes through a socket pair of its own: no path, name or permission of any file plays a part */
static int pass_files(struct swap *w, struct error *err)
{
	int pair[2] = { -1, -1 };
	uint64_t scratch;
	int64_t r = frozen_scratch(w->s, &scratch, err);
	int ours;

	if (r == 0)
		r = call(w->s, err, "socketpair", SYS_socketpair, AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0,
			 scratch);
	if (r == 0)
		r = frozen_read(w->s, scratch, pair, sizeof(pair));
	if (r < 0)
		return (int)r;
	ours = (int)syscall(SYS_pidfd_getfd, w->s->pidfd, pair[1], 0);
	if (ours < 0)
		r = errno == ENOSYS ? error_set(err, ENOSYS, "this kernel has no pidfd_getfd (Linux 5.6)")
				    : frozen_denied(w->s->pid, errno, err);
	else
		r = send_files(w, ours, err);
	if (r == 0)
		r = receive_files(w, pair[0], scratch, err);
	fd_close(ours);
	quiet_close(w->s, &pair[0]);
	quiet_close(w->s, &pair[1]);
	return (int)r;
}

/* --- epoll ---------------------------------------------------------------------- */

static bool swapped(const struct swap *w, int fd)
{
	for (size_t i = 0; i < w->nfds; i++)
		if (w->fds[i].fd == fd)
			return true;
	return false;
}

/* one line of an epoll set's fdinfo. Return: 0, or -E2BIG */
static int read_watch(struct swap *w, int epoll, const char *line, struct error *err)
{
	struct swap_watch watch = { .epoll = epoll };
	unsigned long long inode = 0;
	struct stat st;

	if (sscanf(line, "tfd: %d events: %" SCNx32 " data: %" SCNx64 " pos:%*d ino:%llx", &watch.fd,
		   &watch.events, &watch.data, &inode) < 3 ||
	    !swapped(w, watch.fd))
		return 0;
	/* the number may be another file's by now */
	if (inode && stat(proc_path(w->s->pid, "fd/%d", watch.fd).text, &st) == 0 && st.st_ino != inode)
		return 0;
	if (w->nwatches == SWAP_MAX)
		return error_set(err, E2BIG, "process %d waits for its terminal in too many epoll sets",
				 w->s->pid);
	w->watches[w->nwatches++] = watch;
	return 0;
}

static int read_set(struct swap *w, int epoll, struct error *err)
{
	_cleanup_free_ char *text = NULL;
	char *save = NULL;
	int r = 0;

	if (read_file(proc_path(w->s->pid, "fdinfo/%d", epoll).text, &text, NULL) < 0)
		return 0;
	for (char *line = strtok_r(text, "\n", &save); line && r == 0; line = strtok_r(NULL, "\n", &save))
		r = read_watch(w, epoll, line, err);
	return r;
}

static int read_watches(struct swap *w, struct error *err)
{
	struct dirent *entry;
	char link[64];
	int r = 0;
	DIR *dir;

	w->nwatches = 0;
	dir = opendir(proc_path(w->s->pid, "fd").text);
	if (!dir)
		return frozen_denied(w->s->pid, errno, err);
	while (r == 0 && (entry = readdir(dir))) {
		ssize_t n = readlinkat(dirfd(dir), entry->d_name, link, sizeof(link) - 1);

		if (n <= 0)
			continue;
		link[n] = '\0';
		if (strcmp(link, "anon_inode:[eventpoll]") == 0)
			r = read_set(w, (int)strtol(entry->d_name, NULL, 10), err);
	}
	closedir(dir);
	return r;
}

/* @fd < 0: of all descriptors. Failures of EPOLL_CTL_DEL do not matter: then there is nothing to be taken out */
static int change_watches(struct swap *w, int op, struct error *err)
{
	uint64_t scratch;
	int r = w->nwatches ? frozen_scratch(w->s, &scratch, err) : 0;

	for (size_t i = 0; r == 0 && i < w->nwatches; i++) {
		const struct swap_watch *watch = &w->watches[i];
		struct epoll_event event = { .events = watch->events, .data.u64 = watch->data };
		int64_t result;

		r = frozen_write(w->s, scratch, &event, sizeof(event));
		if (r == 0)
			r = frozen_call(w->s, NULL, &result, err, SYS_epoll_ctl, (uint64_t)watch->epoll,
					(uint64_t)op, (uint64_t)watch->fd, scratch, 0, 0);
		if (r == 0 && op == EPOLL_CTL_ADD && result < 0)
			r = error_errno(err, (int)result, "epoll_ctl in process %d", w->s->pid);
	}
	return r;
}

/* --- the steps -------------------------------------------------------------------- */

static int copy_old(struct swap *w, struct error *err)
{
	for (size_t i = 0; i < w->nfds; i++) {
		int *old = &w->olds[w->fds[i].file];
		int64_t r;

		if (*old >= 0)
			continue;
		r = call(w->s, err, "copying a descriptor (fcntl)", SYS_fcntl, (uint64_t)w->fds[i].fd,
			 F_DUPFD_CLOEXEC, 3, 0);
		if (r < 0)
			return (int)r;
		*old = (int)r;
	}
	return 0;
}

int swap_prepare(struct swap *w, struct error *err)
{
	int r;

	for (size_t i = 0; i < SWAP_MAX; i++)
		w->news[i] = w->olds[i] = -1;
	w->nwatches = w->applied = 0;
	r = pass_files(w, err);
	if (r == 0)
		r = copy_old(w, err);
	if (r < 0)
		swap_finish(w);
	return r;
}

static int64_t put(struct swap *w, const struct swap_fd *fd, int from, struct error *err)
{
	return call(w->s, err, "dup3", SYS_dup3, (uint64_t)from, (uint64_t)fd->fd,
		    fd->cloexec ? O_CLOEXEC : 0, 0);
}

int swap_apply(struct swap *w, struct error *err)
{
	int64_t r = read_watches(w, err);

	if (r < 0)
		return (int)r;
	r = change_watches(w, EPOLL_CTL_DEL, err);
	while (r >= 0 && w->applied < w->nfds) {
		const struct swap_fd *fd = &w->fds[w->applied];

		r = put(w, fd, w->news[fd->file], err);
		if (r >= 0)
			w->applied++;
	}
	if (r >= 0)
		r = change_watches(w, EPOLL_CTL_ADD, err);
	if (r < 0)
		swap_undo(w);
	return r < 0 ? (int)r : 0;
}

void swap_undo(struct swap *w)
{
	change_watches(w, EPOLL_CTL_DEL, NULL);
	while (w->applied > 0) {
		const struct swap_fd *fd = &w->fds[--w->applied];

		put(w, fd, w->olds[fd->file], NULL);
	}
	change_watches(w, EPOLL_CTL_ADD, NULL);
}

void swap_finish(struct swap *w)
{
	for (size_t i = 0; i < SWAP_MAX; i++) {
		quiet_close(w->s, &w->news[i]);
		quiet_close(w->s, &w->olds[i]);
	}
}
