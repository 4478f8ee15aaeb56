/* SPDX-License-Identifier: MIT */
/* main.c - warmd's start: directory, lock, configuration, socket, signals */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <systemd/sd-daemon.h>

#include "engine/base/fd.h"
#include "engine/base/limits.h"
#include "engine/base/log.h"
#include "engine/base/runtime_dir.h"
#include "launcher/wire/protocol.h"
#include "warmd/metrics_http.h"
#include "warmd/server.h"
#include "warmd/socket.h"

#define LOG_MAX (4u << 20) /* bytes; and as much again in warmd.log.1 */

struct start {
	struct runtime_dir dir;
	int dir_fd; /* of dir, which was looked at: runtime_dir_open() */
	int lock_fd, ready_fd;
	bool logging;
	bool activated; /* the socket is systemd's: not ours to remove */
};

static const char usage[] =
	"usage: warmd [--config FILE] [--log FILE] [--version]\n"
	"\n"
	"The daemon of warm(1). It is started by warm on first use; `warm stop` ends it.\n"
	"\n"
	"  --config FILE   instead of $XDG_CONFIG_HOME/warm/config.json\n"
	"  --log FILE      instead of $WARM_LOG, or warmd.log in the runtime directory\n";

/* words for whoever started us: protocol.h, WIRE_READY_ENV */
static void tell_starter(struct start *s, const char *words)
{
	if (s->ready_fd < 0)
		return;
	if (write(s->ready_fd, words ? words : "1", words ? strlen(words) : 1) < 0)
		log_debug("whoever started us is gone");
	s->ready_fd = fd_close(s->ready_fd);
}

static int lock(struct start *s, struct error *err)
{
	s->dir_fd = runtime_dir_open(&s->dir, 1, err);
	if (s->dir_fd < 0)
		return s->dir_fd;
	s->lock_fd = runtime_dir_file(s->dir_fd, WIRE_LOCK, O_RDWR, err);
	if (s->lock_fd < 0)
		return s->lock_fd;
	if (flock(s->lock_fd, LOCK_EX | LOCK_NB) < 0)
		return error_set(err, EALREADY, "another warmd serves %s", s->dir.path);
	return 0;
}

static int listen_on(const struct start *s, struct error *err)
{
	/* a stale one: we hold the lock, so nobody listens there */
	int fd = socket_listen_in(s->dir_fd, WIRE_SOCKET, SOCK_SEQPACKET, SOMAXCONN);

	return fd < 0 ? error_errno(err, fd, "listening on %s/%s", s->dir.path, WIRE_SOCKET) : fd;
}

/* one that the user named; a link of another user's is not followed, nor is his file written to */
static int open_named_log(const char *path, struct error *err)
{
	const int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY;
	_cleanup_close_ int fd = open(path, flags | O_NOFOLLOW, 0600);
	struct stat st;

	if (fd < 0 && errno == ELOOP && lstat(path, &st) == 0 && (st.st_uid == geteuid() || st.st_uid == 0))
		fd = open(path, flags, 0600);
	if (fd < 0)
		return error_errno(err, errno, "opening the log %s", path);
	if (fstat(fd, &st) < 0 || (S_ISREG(st.st_mode) && st.st_uid != geteuid()))
		return error_set(err, EACCES, "the log %s belongs to another user", path);
	return TAKE_FD(fd);
}

static int open_log(const struct start *s, const char *path, enum log_level level, struct error *err)
{
	char file[RUNTIME_PATH_MAX];
	int fd;

	if (!path)
		path = getenv("WARM_LOG");
	if (path && *path) {
		fd = open_named_log(path, err);
	} else {
		snprintf(file, sizeof(file), "%s/warmd.log", s->dir.path);
		path = file;
		fd = runtime_dir_file(s->dir_fd, "warmd.log", O_WRONLY | O_APPEND, err);
	}
	if (fd < 0)
		return fd;
	log_open_file(fd, path, level, LOG_MAX);
	return 0;
}

static int serve(struct start *s, const struct config *config, int listen_fd, struct error *err)
{
	struct server *server = NULL;
	struct metrics_http *metrics = NULL;
	sd_event *event = NULL;
	sigset_t set;
	int r;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGCHLD, SIG_DFL);
	r = sd_event_new(&event);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
	if (r < 0)
		r = error_errno(err, r, "making an event loop");
	else
		r = server_new(&server, event, config, listen_fd, err);
	if (r < 0) {
		sd_event_unref(event);
		return r;
	}
	/* launches do not depend on it */
	if (metrics_http_new(&metrics, server, s->dir_fd, err) < 0)
		log_warning("no metrics: %s", err->text);
	log_info("warmd %s serves %s", WARM_VERSION, s->dir.path);
	tell_starter(s, NULL);
	sd_notify(0, "READY=1");
	r = sd_event_loop(event);
	log_info("stopping");
	/* first, so that nobody connects to one that is going */
	if (!s->activated)
		unlinkat(s->dir_fd, WIRE_SOCKET, 0);
	metrics_http_free(metrics);
	server_free(server);
	sd_event_unref(event);
	return r < 0 ? error_errno(err, r, "the event loop") : 0;
}

static int parse(int argc, char **argv, const char **ret_config, const char **ret_log)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
			fputs(usage, stdout);
			return 1;
		}
		if (strcmp(argv[i], "--version") == 0) {
			puts("warmd " WARM_VERSION);
			return 1;
		}
		if (strcmp(argv[i], "--config") == 0 && i + 1 < argc) {
			*ret_config = argv[++i];
		} else if (strcmp(argv[i], "--log") == 0 && i + 1 < argc) {
			*ret_log = argv[++i];
		} else {
			fprintf(stderr, "warmd: unknown argument %s; try 'warmd --help'\n", argv[i]);
			return -EINVAL;
		}
	}
	return 0;
}

static int run(struct start *s, const char *config_path, const char *log_path, struct error *err)
{
	struct config config;
	_cleanup_close_ int listen_fd = -EBADF;
	int r = runtime_dir_find(&s->dir, err);

	if (r == 0)
		r = lock(s, err);
	if (r == 0)
		r = config_load(&config, config_path, err);
	if (r < 0)
		return r;
	s->logging = open_log(s, log_path, config.log_level, err) == 0;
	if (!s->logging)
		log_warning("%s; messages go to stderr", err->text);
	if (sd_listen_fds(1) == 1) {
		s->activated = true;
		listen_fd = SD_LISTEN_FDS_START;
		if (fcntl(listen_fd, F_SETFD, FD_CLOEXEC) < 0 ||
		    fcntl(listen_fd, F_SETFL, fcntl(listen_fd, F_GETFL) | O_NONBLOCK) < 0)
			r = error_errno(err, errno, "the socket that systemd passed");
		else if (sd_is_socket_unix(listen_fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0)
			r = error_set(err, EINVAL,
				      "the socket that systemd passed is not a listening SOCK_SEQPACKET one");
	} else {
		listen_fd = listen_on(s, err);
		r = listen_fd < 0 ? listen_fd : 0;
	}
	if (r == 0)
		r = serve(s, &config, TAKE_FD(listen_fd), err);
	config_done(&config);
	return r;
}

int main(int argc, char **argv)
{
	struct start s = { .dir_fd = -EBADF, .lock_fd = -EBADF, .ready_fd = -EBADF };
	const char *config = NULL, *log = NULL, *ready = getenv(WIRE_READY_ENV);
	struct error err = { 0 };
	int r = parse(argc, argv, &config, &log);

	if (r)
		return r > 0 ? 0 : 125;
	if (ready)
		s.ready_fd = atoi(ready) > 2 ? atoi(ready) : -EBADF;
	unsetenv(WIRE_READY_ENV);
	/* a number that is no descriptor of ours: nobody waits */
	if (s.ready_fd >= 0 && fcntl(s.ready_fd, F_SETFD, FD_CLOEXEC) < 0)
		s.ready_fd = -EBADF;
	/*
	 * Each template keeps its mapped files open; memfds count for RLIMIT_FSIZE; and a limit that cannot be raised shall
	 * fail a write, not end the daemon.
	 */
	limits_raise();
	signal(SIGXFSZ, SIG_IGN);
	/* processes of one user may trace one another: a template's memory is as private as the program's */
	/* cannot fail: prctl(2). Started through an interpreter or a link it would have another name in ps(1) */
	prctl(PR_SET_NAME, "warmd");
	r = run(&s, config, log, &err);
	if (r == -EALREADY) {
		fd_close(s.ready_fd);
		fprintf(stderr, "warmd: %s\n", err.text);
		return 0;
	}
	if (r < 0) {
		if (s.logging)
			log_error("%s", err.text);
		tell_starter(&s, err.text);
		fprintf(stderr, "warmd: %s\n", err.text);
		return 125;
	}
	fd_close(s.lock_fd);
	return 0;
}
