/* SPDX-License-Identifier: MIT */
/*
 * client.h - the client's end of the connection to warmd.
 *
 * In: the environment (where the socket is) and packets of launcher/wire/protocol.h.
 * Out: a connected socket whose other end is this user's warmd, packets sent and
 * received within a bounded time, descriptors never lost or truncated unseen.
 *
 * Shared by `warm run` (static, musl), libwarm and warm-tool: no malloc, and no stdio but for the
 * words of a failure. Every function that can fail returns a negative errno and
 * fills @err (may be NULL). Descriptors are close-on-exec.
 *
 *	context_collect()		first: it looks at what is open
 *	runtime_dir_find()		where
 *	client_connect()		-ENOENT, -ECONNREFUSED: nobody there:
 *	client_start_daemon()		then connected as well
 *	client_send(), client_receive()
 */
#ifndef WARM_LAUNCHER_CLIENT_H
#define WARM_LAUNCHER_CLIENT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "engine/base/runtime_dir.h"
#include "launcher/wire/protocol.h"

/* descriptors that came with a packet; the receiver owns them */
struct client_fds {
	int fd[WIRE_MAX_FDS];
	unsigned int count;
};

/* descriptors that came with an answer, in all its packets: as many as a template has files. The receiver owns them */
struct client_files {
	int *fd; /* few, which does for most templates, or mapped memory, for good */
	unsigned int count;
	unsigned int room; /* entries of mapped memory; 0: none is mapped yet */
	int few[WIRE_MAX_FDS];
};

/**
 * client_connect() - connect to the warmd that listens in @dir
 * @timeout_ms: bound of connecting and of each later send and receive on the socket; at least 1
 *
 * Return: a descriptor. -ENOENT or -ECONNREFUSED: no daemon (a stale socket file).
 * -EACCES: the peer is another user. -ETIMEDOUT: it does not accept.
 */
int client_connect(const struct runtime_dir *dir, unsigned int timeout_ms, struct error *err);

/** client_connect_to() - the same, to the socket at @path, whose peer must be this user as well. -EINVAL: "" */
int client_connect_to(const char *path, unsigned int timeout_ms, struct error *err);

/**
 * client_start_daemon() - start warmd in @dir and connect to it
 * @dir: made (mode 0700) when it does not exist
 * @timeout_ms: bound of the whole
 *
 * warmd is looked for beside this executable, in ../libexec/warm, then on PATH. It gets
 * /dev/null as 0, 1 and 2, a session of its own, default signal dispositions, / as its directory, this
 * process' environment with WARM_RUNTIME_DIR set, and no other descriptor than WARMD_READY_FD. Two at once are
 * sorted out by warmd's lock file; both callers get connected to the one.
 *
 * Return: a connected descriptor as from client_connect(), or a negative errno.
 */
int client_start_daemon(const struct runtime_dir *dir, unsigned int timeout_ms, struct error *err);

/**
 * client_open() - runtime_dir_find(), client_connect() and, when nobody is there and
 * @start is not 0, client_start_daemon()
 */
int client_open(int start, unsigned int timeout_ms, struct error *err);

/** client_send() - one packet of @len bytes. Return: 0, -ECONNRESET (closed), -ETIMEDOUT. Raises no SIGPIPE. */
int client_send(int fd, const void *packet, size_t len, struct error *err);

/**
 * client_receive() - one packet, checked as protocol.h demands
 * @buf: 8-byte aligned; starts with a struct wire_header afterwards
 * @size: bytes of @buf
 * @type: the type that is expected
 * @timeout_ms: 0 waits for ever; Ctrl-C still works
 * @fds: filled; NULL when none are expected (any that come are an error)
 *
 * On failure nothing that came is left open.
 *
 * Return: the packet's bytes. -EPROTONOSUPPORT: the daemon speaks another version (named in @err).
 * -EBADMSG: malformed or truncated. -ECONNRESET: closed. -ETIMEDOUT.
 */
ssize_t client_receive(int fd, void *buf, size_t size, uint16_t type, unsigned int timeout_ms,
		       struct client_fds *fds, struct error *err);

/**
 * client_receive_run() - the whole answer to WIRE_RUN, with the packets of further descriptors
 * @files: gets them: reply->nfds; WIRE_LAUNCHED: the pidfd and a terminal's; else none. NULL: an answer with any is malformed
 *
 * reason is NUL-terminated on return. Errors as client_receive().
 */
int client_receive_run(int fd, struct wire_run_reply *reply, unsigned int timeout_ms,
		       struct client_files *files, struct error *err);

/** client_find() - path of program @name as client_start_daemon() looks for warmd. Return: 0 or -ENOENT, -ENAMETOOLONG. */
int client_find(const char *name, char *path, size_t size);

#endif
