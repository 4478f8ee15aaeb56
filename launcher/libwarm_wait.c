/* SPDX-License-Identifier: MIT */
/* libwarm_wait.c - warm_wait(): libwarm.h */
#include "launcher/libwarm.h"

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/pidfd.h"

#define REAP_MS 10000 /* how long whoever inherited the clone may take to reap it */

/* Return: 0: @events or POLLHUP came; -ETIMEDOUT; another negative errno. @timeout_ms: -1: none. A signal starts it anew */
static int wait_event(int fd, short events, int timeout_ms)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n;

	do
		n = poll(&p, 1, timeout_ms);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n == 0 ? -ETIMEDOUT : 0;
}

/*
 * warmd is gone, its clones go on. A pidfd is readable when the process has ended. How it ended the kernel tells once it
 * is reaped, which wakes those that poll (Linux 6.9: POLLHUP), and since Linux 6.15 only (PIDFD_INFO_EXIT). Before that
 * /proc tells; and some that inherit processes take seconds to reap them, or never do.
 */
static int wait_alone(int pidfd, pid_t pid, int *ret_wstatus, struct error *err)
{
	int r;

	if (pidfd < 0)
		return error_set(err, ECONNRESET, "warmd is gone, and process %d was not kept in view: %s",
				 (int)pid, "too many descriptors are open");
	r = wait_event(pidfd, POLLIN, -1);
	if (r == 0)
		r = pidfd_exit_status(pidfd, ret_wstatus);
	if (r < 0 && pidfd_zombie_status(pidfd, pid, ret_wstatus) == 0)
		return 0;
	/* reaped this very moment (pidfd_info() in Linux finds a process without a PID), or not to be read */
	if ((r == -ENODATA || r == -ESRCH) && wait_event(pidfd, 0, REAP_MS) == 0)
		r = pidfd_exit_status(pidfd, ret_wstatus);
	if (r < 0)
		return error_set(err, ECONNRESET,
				 "process %d has ended, but warmd was gone before it could tell how",
				 (int)pid);
	return 0;
}

/* the oldest that nobody waits for: if the kernel gave out a PID twice, they come in order */
static struct libwarm_clone *find(struct warm *w, pid_t pid)
{
	struct libwarm_clone *cl = *libwarm_clone_bucket(w, pid);

	while (cl && (cl->pid != pid || cl->call))
		cl = cl->next;
	return cl;
}

static int wait_clone(struct warm *w, pid_t pid, int *ret_wstatus, struct error *err)
{
	struct libwarm_clone *cl = find(w, pid);
	struct call call;
	int r = 0;

	if (!cl)
		return error_set(err, ECHILD, "process %d is no clone of this handle, or was waited for",
				 (int)pid);
	cl->call = &call;
	call_begin(w, &call);
	if (cl->state == CLONE_RUNNING)
		call_await(w, &call, cl, CLONE_RUNNING, 0);
	call_end(w, &call);
	*ret_wstatus = cl->wstatus;
	if (cl->state == CLONE_ORPHAN) {
		/* the record stays, and cl->call, of use to nobody any more, keeps other threads away from it */
		pthread_mutex_unlock(&w->lock);
		r = wait_alone(cl->pidfd, pid, ret_wstatus, err);
		pthread_mutex_lock(&w->lock);
	}
	libwarm_clone_leave(w, cl);
	return r;
}

EXPORT int warm_wait(struct warm *w, pid_t pid, int *ret_wstatus)
{
	struct error err;
	int wstatus, cancel, r;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancel); /* as in warm_launch() */
	r = handle_check(w, &err);
	if (r == 0) {
		pthread_mutex_lock(&w->lock);
		r = wait_clone(w, pid, &wstatus, &err);
		pthread_mutex_unlock(&w->lock);
	}
	if (r < 0)
		r = handle_fail(w, &err);
	else if (ret_wstatus)
		*ret_wstatus = wstatus;
	pthread_setcancelstate(cancel, NULL);
	return r;
}
