/* SPDX-License-Identifier: MIT */
/*
 * libwarm.h - inside libwarm's client side. Programs include warm.h.
 *
 * In: launches of any number of threads. Out: packets of launcher/wire/protocol.h on one connection, and
 * each answer to the thread that waits for it.
 *
 *	libwarm.c		the handle: open, close, words of a failure, records
 *	libwarm_launch.c	options to packet; warm_launch()
 *	libwarm_reader.c	what comes from warmd, and to whom it goes
 *	libwarm_lease.c		launches that do not wait for warmd
 *	libwarm_wait.c		warm_wait()
 *	libwarm_ready.c		the other side, within a program: nothing of this file
 *
 * Theory of operation. There is no thread of libwarm's own. Of the threads that wait for something one
 * reads the socket (the leader); what it reads for others it puts into their records and wakes them. When its own
 * has come it leaves, and wakes another, which reads on. A thread alone thus pays one sendmsg(2) and one
 * recvmsg(2). Nobody waits: packets wait in the socket, and in warmd.
 *
 * A clone's record, its state, and what may happen next:
 *
 *	ASKED		the launch was or will be sent; its thread waits	-> RUNNING, ENDED, FAILED, ABANDONED
 *	ABANDONED	its thread gave up; an answer that comes late ends the clone	-> freed
 *	FAILED		no clone; its thread takes code and words		-> freed
 *	RUNNING		warmd will tell of the end				-> ENDED, ORPHAN
 *	ORPHAN		the connection was lost: the pidfd tells		-> freed, by warm_wait()
 *	ENDED		with its wait status					-> freed, by warm_wait()
 *
 * ASKED and ABANDONED are in warm.asked and are found by their tag; RUNNING, ORPHAN and ENDED in warm.clones, by their PID.
 *
 * warm.lock guards the handle and all records. It is not held while a thread sends, receives or waits for a
 * pidfd; it is while it connects, as nobody can do anything else then.
 */
#ifndef WARM_LAUNCHER_LIBWARM_H
#define WARM_LAUNCHER_LIBWARM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "engine/base/runtime_dir.h"
#include "launcher/wire/protocol.h"
#include "launcher/warm.h"

#define EXPORT __attribute__((visibility("default")))

#define LAUNCH_MS  60000 /* bound of a launch: a stale template may have to be built anew */
#define CONNECT_MS 1000 /* bound of connecting, and of a packet that warmd does not take */

#define CLONE_BUCKETS 1024 /* power of 2 */
#define CLONE_CHUNK   64 /* records made at once */

enum libwarm_clone_state {
	CLONE_ASKED,
	CLONE_ABANDONED,
	CLONE_FAILED,
	CLONE_RUNNING,
	CLONE_ORPHAN,
	CLONE_ENDED
};

/* a thread within warm_launch() or warm_wait(); lives on its stack, guarded by warm.lock */
struct call {
	struct call *next, **at; /* in warm.calls */
	pthread_cond_t wake;
	struct error err; /* of a FAILED launch */
	bool unread; /* FAILED: warmd did not take the message from its socket, so it may be sent again */
	int pidfd; /* of a launched clone, owned; negative errno: it did not arrive */
	bool following; /* waits for wake */
};

struct libwarm_clone {
	struct libwarm_clone *next; /* warm.asked, a bucket of warm.clones, warm.unused */
	struct call *call; /* who waits; NULL: nobody */
	enum libwarm_clone_state state;
	uint32_t tag;
	pid_t pid;
	int pidfd; /* owned; -EBADF: none is kept */
	int wstatus;
	bool exited; /* ASKED: its end was told before its launch */
};

struct libwarm_clone_chunk {
	struct libwarm_clone_chunk *next;
	struct libwarm_clone clones[CLONE_CHUNK];
};

/* room for one packet, kept for the next launch; the context is in it */
struct libwarm_message {
	struct libwarm_message *next;
	uint64_t bytes[WIRE_MAX_SIZE / 8]; /* pages that no launch needed cost nothing */
};

/* a socket may be in use by several threads while it is given up */
struct libwarm_connection {
	int fd;
	unsigned int refs;
	bool lost; /* warm.connection is not this one any more */
	struct leases *leases; /* libwarm_lease.c; NULL: none */
	bool reset; /* ECONNRESET was reported: warmd closed it before it had read all */
};

struct warm {
	pthread_mutex_t lock;
	pid_t owner; /* the process that opened it: handles do not survive fork() */
	char path[RUNTIME_PATH_MAX];
	unsigned int launch_ms;
	int null_fd; /* /dev/null */
	uint32_t null_kind, null_blksize; /* as wire_run has them */
	int fd_budget; /* descriptors from here on are left to the program */
	struct wire_run context; /* of the process, at warm_open() */
	struct libwarm_connection *connection; /* NULL: lost */
	struct call *calls, *leader;
	uint32_t next_tag;
	struct libwarm_clone *asked, *unused, *clones[CLONE_BUCKETS];
	struct libwarm_clone_chunk *chunks;
	struct libwarm_message *messages;
	bool asked_before; /* a launch went through warmd */
	int mounts_fd; /* /proc/self/mountinfo, for leases; -EBADF: not opened yet; -ENOENT: it cannot be */
	uint64_t incoming[WIRE_MODEL_MAX / 8 + 1]; /* the leader's */
	char words[sizeof(((struct error *)0)->text)]; /* of the last failure of any thread */
};

/**
 * handle_open() - warm_open()
 * @launch_ms: instead of LAUNCH_MS
 */
int handle_open(struct warm **ret, const char *socket_path, unsigned int launch_ms, struct error *err);

/** handle_connect() - with the lock held, when there is no connection. Return: 0; negative errno with *err set */
int handle_connect(struct warm *w, struct error *err);

/** libwarm_connection_put() - one user less; with the lock held */
void libwarm_connection_put(struct libwarm_connection *c);

/** handle_fail() - keep the words of @err for warm_error(). Return: err->code */
int handle_fail(struct warm *w, const struct error *err);

/** handle_check() - is this a handle of this process? Return: 0; -EINVAL; -ECHILD: after fork() */
int handle_check(struct warm *w, struct error *err);

/* --- records: the lock is held --- */

/** libwarm_clone_new() - ASKED, with a tag of its own, in warm.asked. Return: NULL: no memory */
struct libwarm_clone *libwarm_clone_new(struct warm *w, struct call *call);
/** libwarm_clone_find_asked() - by its tag. Return: NULL: there is none */
struct libwarm_clone *libwarm_clone_find_asked(struct warm *w, uint32_t tag);
/** libwarm_clone_unlink_asked() - it is in no list then */
void libwarm_clone_unlink_asked(struct warm *w, struct libwarm_clone *cl);
/** libwarm_clone_enter() - to the end of its PID's bucket */
void libwarm_clone_enter(struct warm *w, struct libwarm_clone *cl);
/** libwarm_clone_bucket() - where clones of @pid are, the oldest first */
struct libwarm_clone **libwarm_clone_bucket(struct warm *w, pid_t pid);
/** libwarm_clone_leave() - out of its bucket, and freed */
void libwarm_clone_leave(struct warm *w, struct libwarm_clone *cl);
/** libwarm_clone_free() - in no list */
void libwarm_clone_free(struct warm *w, struct libwarm_clone *cl);

/* --- calls, and what comes: the lock is held --- */

void call_begin(struct warm *w, struct call *c);
/** call_end() - whoever waits goes on */
void call_end(struct warm *w, struct call *c);
/**
 * call_await() - until @cl, which @c waits for, is in another state than @from
 * @timeout_ms: 0: no bound
 * Return: 0 or -ETIMEDOUT
 */
int call_await(struct warm *w, struct call *c, const struct libwarm_clone *cl, enum libwarm_clone_state from,
	       unsigned int timeout_ms);
/** call_drain() - @conn is no good: read what is still in it; it is lost afterwards */
void call_drain(struct warm *w, struct call *c, struct libwarm_connection *conn);

/** libwarm_clone_kill() - nobody will know of it. @pidfd: not closed; negative: by its PID */
void libwarm_clone_kill(int pidfd, pid_t pid);

#endif
