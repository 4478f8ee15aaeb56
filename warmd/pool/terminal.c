/* SPDX-License-Identifier: MIT */
/* terminal.c - a clone's pty from its making to its end: terminal.h */
#include "warmd/pool/terminal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <asm/ioctls.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "pty/pump.h"
#include "pty/raw.h"
#include "warmd/pool/pool.h"

#define PUMP_READS 16 /* of 4 KiB at most, in one turn of the loop: launches come first */
#define FINISH_MAX 65536 /* more than a pty holds: processes that the clone left behind may go on printing */
#define KEPT_MAX   16 /* terminals of clones that have ended */

int terminal_new(struct pools *all, struct terminal **ret)
{
	struct terminal *t = calloc(1, sizeof(*t));
	int unlocked = 0, pair[2], r;

	if (!t)
		return -ENOMEM;
	*t = (struct terminal){ .pools = all, .ring = RING_NONE };
	t->slave = t->session = t->leader_end = t->wake = t->caller = -EBADF;
	t->master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
	if (t->master < 0)
		goto fail;
	if (ioctl(t->master, TIOCSPTLCK, &unlocked) < 0)
		goto fail;
	/* needs no path, whatever is mounted on /dev/pts: Linux 4.13 */
	t->slave = ioctl(t->master, TIOCGPTPEER, O_RDWR | O_NOCTTY);
	/* O_CLOEXEC above would stay visible in F_GETFL */
	if (t->slave < 0 || fcntl(t->slave, F_SETFD, FD_CLOEXEC) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		goto fail;
	t->session = pair[0];
	t->leader_end = pair[1];
	*ret = t;
	return 0;
fail:
	r = -errno;
	terminal_free(t);
	return r;
}

static void unlist(struct terminal *t)
{
	for (struct terminal **p = &t->pools->terminals; *p; p = &(*p)->next) {
		if (*p == t) {
			*p = t->next;
			break;
		}
	}
	t->listed = false;
}

void terminal_free(struct terminal *t)
{
	if (!t)
		return;
	if (t->listed)
		unlist(t);
	for (struct connection *c = t->pools->connections->list; c; c = c->next)
		if (c->terminal == t)
			c->terminal = NULL;
	sd_event_source_disable_unref(t->pump);
	ring_unmap(&t->ring);
	fd_close(t->master);
	fd_close(t->slave);
	fd_close(t->session);
	fd_close(t->leader_end);
	fd_close(t->wake);
	fd_close(t->caller);
	free(t->label);
	free(t);
}

bool terminal_wanted(const struct launch_request *l)
{
	return l->request->run.flags & WIRE_LAUNCH_TERMINAL;
}

/* --- the pump --------------------------------------------------------------- */

static void set_pump(struct terminal *t, bool on)
{
	if (t->pump)
		sd_event_source_set_enabled(t->pump, on ? SD_EVENT_ON : SD_EVENT_OFF);
}

static int on_output(sd_event_source *source, int fd, uint32_t events, void *data)
{
	struct terminal *t = data;

	(void)source;
	(void)events;
	for (int i = 0; i < PUMP_READS; i++) {
		ssize_t n = pump_read(fd, &t->ring, t->wake);

		if (n == -EAGAIN || n == -EINTR)
			break;
		if (n <= 0) {
			/* no slave is open: nothing more will come */
			set_pump(t, false);
			break;
		}
	}
	return 0;
}

static int start_pump(struct terminal *t)
{
	int r = sd_event_add_io(t->pools->event, &t->pump, t->master, EPOLLIN, on_output, t);

	if (r < 0)
		return r;
	sd_event_source_set_priority(t->pump, SD_EVENT_PRIORITY_IDLE);
	set_pump(t, !t->writer);
	return 0;
}

/* --- a launch --------------------------------------------------------------- */

/* the first standard descriptor that is a terminal. Return: its place in the packet, or -1 */
static int find_caller(const struct launch_request *l)
{
	const struct wire_run *run = &l->request->run;
	int at = 0;

	for (int fd = 0; fd < 3; fd++) {
		if (!(run->inherited_fds[0] >> fd & 1))
			continue;
		if (run->stdio[fd] == WIRE_STDIO_TTY)
			return (size_t)at < l->caller.nfds ? at : -1;
		at++;
	}
	return -1;
}

static int copy_settings(struct terminal *t, const struct launch_request *l)
{
	const struct wire_run *run = &l->request->run;
	struct winsize size = { .ws_row = run->rows, .ws_col = run->columns };
	int at = find_caller(l);

	if (at < 0 || run->termios_size != WIRE_TERMIOS_SIZE)
		return -EBADMSG;
	t->caller = fcntl(l->caller.fds[at], F_DUPFD_CLOEXEC, 3);
	if (t->caller < 0)
		return -errno;
	if (tcgetattr(t->caller, &t->caller_settings) < 0)
		return -errno;
	/* as the caller had them, whatever was done to them since */
	if (ioctl(t->slave, TCSETS, run->termios) < 0 || ioctl(t->slave, TIOCSWINSZ, &size) < 0)
		return -errno;
	return 0;
}

int terminal_start(struct terminal *t, const struct clone *cl, const struct launch_request *l)
{
	bool detach = l->request->run.flags & WIRE_LAUNCH_DETACH;
	int r = copy_settings(t, l);

	if (r < 0)
		return r;
	t->label = strdup(cl->pool->template->label);
	t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!t->label || t->wake < 0)
		return t->label ? -errno : -ENOMEM;
	r = ring_create(t->pools->config->scrollback, &t->ring);
	if (r < 0)
		return r;
	t->pid = cl->pid;
	t->kept = detach;
	t->writer = detach ? NULL : l->connection;
	if (t->writer) {
		/* of a clone that died before its order, or an earlier launch of this client */
		terminal_leave(t->writer);
		t->writer->terminal = t;
	}
	t->next = t->pools->terminals;
	t->pools->terminals = t;
	t->listed = true;
	return start_pump(t);
}

size_t terminal_descriptors(const struct terminal *t, bool writer, int *fds)
{
	fds[WIRE_TERMINAL_RING] = t->ring.fd;
	fds[WIRE_TERMINAL_WAKE] = t->wake;
	fds[WIRE_TERMINAL_MASTER] = t->master;
	fds[WIRE_TERMINAL_SESSION] = t->session;
	return writer ? WIRE_TERMINAL_FDS : WIRE_TERMINAL_MASTER;
}

bool terminal_is_callers(const struct terminal *t, int fd)
{
	struct stat st, own;

	if (t->caller < 0 || fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode) || fstat(t->caller, &own) < 0)
		return false;
	/* /dev/tty: what it stands for is the caller's controlling terminal */
	return (st.st_rdev == own.st_rdev || st.st_rdev == makedev(5, 0)) && isatty(fd);
}

void terminal_given(struct terminal *t)
{
	t->slave = fd_close(t->slave);
	/* without a writer there is nobody whose terminal could have to be put right */
	if (!t->writer)
		t->caller = fd_close(t->caller);
}

/* --- its end ---------------------------------------------------------------- */

static bool attached(const struct terminal *t)
{
	for (const struct connection *c = t->pools->connections->list; c; c = c->next)
		if (c->terminal == t)
			return true;
	return false;
}

static void drop_oldest(struct pools *all)
{
	struct terminal *oldest = NULL;
	unsigned int n = 0;

	/* the newest is first */
	for (struct terminal *t = all->terminals; t; t = t->next) {
		if (t->ended && !attached(t)) {
			oldest = t;
			n++;
		}
	}
	if (n > KEPT_MAX)
		terminal_free(oldest);
}

static void tell_end(const struct terminal *t, struct connection *c)
{
	struct wire_exited m = {
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_EXITED,
			    .size = sizeof(m) },
		.pid = (uint32_t)t->pid,
		.wstatus = t->wstatus,
	};

	if (connection_send(c, &m, sizeof(m), NULL, 0) < 0)
		log_debug("process %u does not hear of process %d's end", c->pid, t->pid);
}

/* nobody is attached to one that has ended */
static void put_away(struct terminal *t)
{
	if (t->kept)
		drop_oldest(t->pools);
	else
		terminal_free(t);
}

/* nobody writes any more, and nothing more comes: viewers have seen all */
static void finish(struct terminal *t)
{
	ssize_t n;

	for (size_t taken = 0; taken < FINISH_MAX; taken += (size_t)n) {
		n = pump_read(t->master, &t->ring, t->wake);
		if (n <= 0)
			break;
	}
	pump_wake(t->wake);
	for (struct connection *c = t->pools->connections->list; c; c = c->next)
		if (c->terminal == t)
			tell_end(t, c);
	t->pump = sd_event_source_disable_unref(t->pump);
	t->master = fd_close(t->master);
	t->session = fd_close(t->session);
	if (!attached(t))
		put_away(t);
}

void terminal_end(struct terminal *t, int wstatus, const struct connection *told)
{
	t->ended = true;
	t->wstatus = wstatus;
	if (!t->listed) {
		terminal_free(t);
		return;
	}
	/* the writer copies what is left */
	if (!t->writer)
		finish(t);
	else if (t->writer != told)
		tell_end(t, t->writer);
}

static void restore_caller(const struct terminal *t)
{
	/* the relay did not come to put them back, and nobody else has: raw mode may be somebody's who came after it */
	if (t->caller >= 0 && ring_is_raw(&t->ring) && raw_is(t->caller))
		tcsetattr(t->caller, TCSANOW, &t->caller_settings);
}

void terminal_leave(struct connection *c)
{
	struct terminal *t = c->terminal;

	c->terminal = NULL;
	if (!t)
		return;
	/* one that died cannot count itself out */
	if (!attached(t))
		ring_forget_followers(&t->ring);
	if (t->writer == c) {
		t->writer = NULL;
		restore_caller(t);
		t->caller = fd_close(t->caller);
		if (t->ended)
			finish(t);
		else
			set_pump(t, true);
	} else if (t->ended && !attached(t)) {
		put_away(t);
	}
}

/* the leader, which would pass a hang-up on, shall not: the clone has no terminal, or has been told */
static void silence_leader(const struct terminal *t)
{
	struct stub_session m = { .kind = STUB_SESSION_RELEASE };

	if (send(t->session, &m, sizeof(m), MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
		log_debug("the leader of a session is not told: %s", strerror(errno));
}

void terminal_release(struct terminal *t)
{
	silence_leader(t);
	terminal_free(t);
}

void terminal_hangup(struct terminal *t)
{
	struct stub_session m = { .kind = STUB_SESSION_HANGUP };
	struct iovec piece = { &m, sizeof(m) };
	int r;

	t->pump = sd_event_source_disable_unref(t->pump);
	/* without a leader to tell, closing it is all that is left */
	r = t->session >= 0 && t->master >= 0
		    ? packet_send(t->session, &piece, 1, &t->master, 1, MSG_DONTWAIT)
		    : 0;
	if (r < 0)
		log_debug("the leader of a session is not told of the hang-up: %s", strerror(-r));
	t->master = fd_close(t->master);
}
