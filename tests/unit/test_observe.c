/* SPDX-License-Identifier: MIT */
/*
 * the observer: this process plays the traced program. Each call is told to
 * the observer at its entry, made, and told at its exit; where the entry
 * raises a refusal it is not made, as the builder would do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "warmd/observe.h"

#define OWN_FD 9

static char root[PATH_MAX];
static struct config cfg;
static struct observe *o;
static bool allow; /* make the call in spite of a refusal */

static const char *at(const char *name)
{
	static char paths[8][PATH_MAX + 64];
	static unsigned int turn;
	char *p = paths[turn++ % 8];

	snprintf(p, sizeof(paths[0]), "%s/%s", root, name);
	return p;
}

static void put(const char *name, const char *text)
{
	FILE *f = fopen(at(name), "w");

	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int tell(long nr, const uint64_t args[6], bool entry, int64_t ret)
{
	struct observe_call c = { .tid = getpid(), .nr = nr, .entry = entry, .ret = ret };
	struct error err;
	int r;

	memcpy(c.args, args, sizeof(c.args));
	r = observe_syscall(o, &c, &err);
	if (r < 0)
		fail_msg("%s", err.text);
	return r;
}

/* Return: as the kernel does; -ECANCELED when the entry was refused */
static long do_call(long nr, const uint64_t a[6])
{
	long ret;

	if (tell(nr, a, true, 0) == 1 && !allow)
		return -ECANCELED;
	ret = syscall(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
	if (ret == -1)
		ret = -errno;
	tell(nr, a, false, ret);
	return ret;
}

#define A(x)	      ((uint64_t)(uintptr_t)(x))
#define call(nr, ...) do_call(nr, (const uint64_t[6]){ __VA_ARGS__ })

static int open_at(const char *path, int flags)
{
	return (int)call(SYS_openat, A(AT_FDCWD), A(path), A(flags), 0600);
}

static void stat_at(const char *path)
{
	struct stat st;

	call(SYS_newfstatat, A(AT_FDCWD), A(path), A(&st), 0);
}

static const struct dep *dep(const char *path, enum dep_kind kind)
{
	const struct dep_set *set = observe_deps(o);

	for (size_t i = 0; i < dep_set_count(set); i++) {
		if (dep_set_get(set, i)->kind == kind && strcmp(dep_set_get(set, i)->path, path) == 0)
			return dep_set_get(set, i);
	}
	return NULL;
}

static void fresh(void)
{
	observe_free(o);
	assert_int_equal(observe_new(&o, &cfg, getpid(), OWN_FD), 0);
}

static void refused(bool retryable, const char *words)
{
	const struct observe_refusal *refusal = observe_refusal(o);

	assert_non_null(refusal);
	if (!strstr(refusal->text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, refusal->text);
	assert_int_equal(refusal->retryable, retryable);
	fresh();
}

static void not_refused(void)
{
	if (observe_refusal(o))
		fail_msg("refused: %s", observe_refusal(o)->text);
}

static void finish(void)
{
	struct error err;

	assert_true(observe_finish(o, &err) >= 0);
}

static int setup(void **state)
{
	char made[] = "/tmp/test_observe.XXXXXX", real[PATH_MAX];

	(void)state;
	close_range(3, ~0u, 0); /* what the last test opened would be "from outside" in this one */
	if (!mkdtemp(made) || !realpath(made, real) || chdir(real) < 0)
		return -1;
	memcpy(root, real, sizeof(root));
	allow = false;
	config_defaults(&cfg);
	return observe_new(&o, &cfg, getpid(), OWN_FD);
}

static int teardown(void **state)
{
	char cmd[PATH_MAX + 16];

	(void)state;
	observe_free(o);
	o = NULL;
	config_done(&cfg);
	if (chdir("/") < 0)
		return -1;
	snprintf(cmd, sizeof(cmd), "rm -rf '%s'", root);
	return system(cmd);
}

static void looks(void **state)
{
	char buf[64];
	int fd;

	(void)state;
	put("a", "one");
	put("s", "one");
	mkdir(at("d"), 0755);
	assert_int_equal(symlink("a", at("l")), 0);
	fd = open_at(at("a"), O_RDONLY);
	assert_true(fd >= 0);
	assert_int_equal(call(SYS_read, A(fd), A(buf), 3), 3);
	call(SYS_close, A(fd));
	stat_at(at("s"));
	stat_at(at("d"));
	stat_at(at("none"));
	stat_at(at("a/x"));
	assert_int_equal(open_at(at("a"), O_RDONLY | O_DIRECTORY), -ENOTDIR);
	call(SYS_readlinkat, A(AT_FDCWD), A(at("l")), A(buf), sizeof(buf));
	assert_int_equal(call(SYS_readlinkat, A(AT_FDCWD), A(at("s")), A(buf), sizeof(buf)), -EINVAL);
	assert_non_null(dep(at("a"), DEP_FILE));
	assert_non_null(dep(at("s"), DEP_FILE));
	assert_non_null(dep(at("d"), DEP_EXISTS));
	assert_non_null(dep(at("none"), DEP_ABSENT));
	assert_non_null(dep(at("a/x"), DEP_ABSENT));
	assert_non_null(dep(at("l"), DEP_FILE));
	assert_int_equal(dep_set_count(observe_deps(o)), 6);
	assert_int_equal(dep_set_check(observe_deps(o), NULL), 0);
	assert_false(observe_keys(o)->cwd);
	not_refused();
}

static void relative_paths(void **state)
{
	int dir;

	(void)state;
	put("a", "");
	mkdir(at("d"), 0755);
	put("d/b", "");
	dir = open_at(at("d"), O_RDONLY | O_DIRECTORY);
	assert_true(call(SYS_openat, A(dir), A("b"), O_RDONLY) >= 0);
	assert_non_null(dep(at("d/b"), DEP_FILE));
	assert_false(observe_keys(o)->cwd);
	open_at("a", O_RDONLY);
	assert_non_null(dep(at("a"), DEP_FILE));
	assert_true(observe_keys(o)->cwd);
	fresh();
	call(SYS_chdir, A(at("d")));
	open_at("b", O_RDONLY); /* a cwd of its own choice */
	assert_false(observe_keys(o)->cwd);
	assert_non_null(dep(at("d/b"), DEP_FILE));
	fresh();
	call(SYS_chdir, A(".."));
	assert_true(observe_keys(o)->cwd);
	assert_non_null(dep(root, DEP_EXISTS));
	fresh();
	call(SYS_getcwd, A((char[PATH_MAX]){ 0 }), PATH_MAX);
	assert_true(observe_keys(o)->cwd);
}

static void ignored_and_synthetic(void **state)
{
	char *path = strdup(at("logs"));

	(void)state;
	cfg.ignore_paths = (struct config_list){ calloc(1, sizeof(char *)), 1 };
	cfg.ignore_paths.items[0] = path;
	mkdir(at("logs"), 0755);
	put("logs/x", "");
	open_at(at("logs/x"), O_RDONLY);
	open_at("/proc/meminfo", O_RDONLY);
	open_at("/sys/kernel", O_RDONLY);
	open_at("/dev/urandom", O_RDONLY);
	assert_int_equal(symlink("/proc/self/mounts", at("mtab")), 0);
	open_at(at("mtab"), O_RDONLY);
	assert_int_equal(dep_set_count(observe_deps(o)), 1); /* the link */
	not_refused();
}

static void replaced_meanwhile(void **state)
{
	const uint64_t args[6] = { A(AT_FDCWD), A(at("a")), O_RDONLY };
	int fd;

	(void)state;
	put("a", "one");
	put("b", "two");
	tell(SYS_openat, args, true, 0);
	fd = open(at("a"), O_RDONLY);
	rename(at("b"), at("a"));
	assert_int_equal(tell(SYS_openat, args, false, fd), 1);
	close(fd);
	refused(true, "which was replaced meanwhile");
}

static void bad_pointers(void **state)
{
	(void)state;
	call(SYS_openat, A(AT_FDCWD), 8, O_RDONLY);
	call(SYS_openat, A(AT_FDCWD), 0, O_RDONLY);
	call(SYS_openat, A(1000), A("x"), O_RDONLY);
	call(SYS_renameat2, A(AT_FDCWD), 8, A(AT_FDCWD), 8, 0);
	call(SYS_connect, 3, 8, 16);
	call(SYS_sendmsg, 3, 8, 0);
	call(SYS_openat2, A(AT_FDCWD), A("/x"), 8, 24);
	call(100000, 0);
	assert_int_equal(dep_set_count(observe_deps(o)), 0);
	not_refused();
}

/* as os.listdir does it; @looked: after a stat, as an importer */
static void list(const char *path, bool looked)
{
	char buf[4096];
	int fd;

	if (looked)
		stat_at(path);
	fd = open_at(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	while (call(SYS_getdents64, A(fd), A(buf), sizeof(buf)) > 0)
		;
	call(SYS_close, A(fd));
}

static void listings(void **state)
{
	(void)state;
	mkdir(at("mods"), 0755);
	mkdir(at("guess"), 0755);
	mkdir(at("both"), 0755);
	mkdir(at("plain"), 0755);
	list(at("mods"), true);
	list(at("guess"), true);
	list(at("both"), true);
	stat_at(at("both"));
	stat_at(at("none"));
	list(at("both"), false);
	list(at("plain"), false);
	assert_non_null(dep(at("mods"), DEP_MODULES));
	assert_non_null(dep(at("guess"), DEP_MODULES));
	assert_non_null(dep(at("both"), DEP_LISTING));
	assert_non_null(dep(at("plain"), DEP_LISTING));
	observe_modules_dir(o, at("mods"));
	observe_modules_dir(o, at("both"));
	observe_modules_dir(o, at("nowhere"));
	finish();
	assert_non_null(dep(at("mods"), DEP_MODULES));
	assert_non_null(dep(at("guess"), DEP_LISTING));
	assert_non_null(dep(at("both"), DEP_LISTING));
	not_refused();
}

static void programs(void **state)
{
	const uint64_t args[6] = { A(at("script")) };

	(void)state;
	put("script", "#! /bin/sh -e\n");
	tell(SYS_execve, args, true, 0);
	tell(SYS_execve, args, false, 0);
	assert_non_null(dep(at("script"), DEP_FILE));
	assert_int_equal(observe_keys(o)->programs, 1);
	/* the script, its shell and that one's loader, and the links to them */
	assert_true(dep_set_count(observe_deps(o)) >= 3);
	fresh();
	tell(SYS_execve, args, true, 0);
	tell(SYS_execve, args, false, -ENOENT); /* of the interpreter: the script is there */
	assert_non_null(dep(at("script"), DEP_FILE));
	assert_int_equal(call(SYS_execve, A(at("none")), 0, 0), -ENOENT);
	assert_non_null(dep(at("none"), DEP_ABSENT));
	assert_int_equal(observe_keys(o)->programs, 0);
}

static void keys(void **state)
{
	struct rlimit lim;
	struct sigaction act;
	char buf[256];
	const struct observe_keys *k;

	(void)state;
	k = observe_keys(o);
	assert_true(!k->argv && !k->environment && !k->umask && !k->affinity && !k->identity && !k->rlimits &&
		    !k->signals && !k->sigmask && !k->stdio && !k->stdio_start);
	call(SYS_umask, 022);
	assert_true(k->umask);
	call(SYS_sched_getaffinity, 0, sizeof(buf), A(buf));
	assert_true(k->affinity);
	call(SYS_getgroups, 0, 0);
	assert_true(k->identity);
	call(SYS_prlimit64, 0, RLIMIT_STACK, 0, A(&lim));
	assert_int_equal(k->rlimits, 1u << RLIMIT_STACK);
	call(SYS_prlimit64, 0, RLIMIT_CORE, A(&lim), 0);
	call(SYS_prlimit64, 0, RLIMIT_CORE, 0, A(&lim));
	assert_int_equal(k->rlimits, 1u << RLIMIT_STACK);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGUSR1, A(&act), 0, 8 }, false, 0);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGUSR1, 0, A(&act), 8 }, false, 0);
	assert_int_equal(k->signals, 0);
	tell(SYS_rt_sigaction, (uint64_t[6]){ SIGINT, A(&act), A(&act), 8 }, false, 0);
	assert_int_equal(k->signals, 1u << (SIGINT - 1));
	call(SYS_rt_sigprocmask, SIG_BLOCK, 0, A(buf), 8);
	assert_true(k->sigmask);
	open_at("/proc/self/cmdline", O_RDONLY);
	assert_true(k->argv);
	snprintf(buf, sizeof(buf), "/proc/%d/environ", getpid());
	open_at(buf, O_RDONLY);
	assert_true(k->environment);
	assert_false(k->cwd);
	call(SYS_readlinkat, A(AT_FDCWD), A("/proc/self/cwd"), A(buf), sizeof(buf));
	assert_true(k->cwd);
}

static void keys_of_others(void **state)
{
	(void)state;
	open_at("/proc/1/cmdline", O_RDONLY);
	call(SYS_prlimit64, 1, RLIMIT_STACK, 0, A((struct rlimit[1]){ { 0 } }));
	assert_false(observe_keys(o)->argv);
	assert_int_equal(observe_keys(o)->rlimits, 0);
	not_refused();
}

static void stdio(void **state)
{
	const struct observe_keys *k = observe_keys(o);
	struct stat st;
	char buf[64];
	int fd;

	(void)state;
	call(SYS_ioctl, 0, TIOCGWINSZ, A(buf));
	assert_int_equal(k->stdio_start, 1);
	call(SYS_fstat, 1, A(&st));
	assert_int_equal(k->stdio_start, 3);
	observe_phase_leading(o);
	assert_int_equal(k->stdio, 0);
	call(SYS_newfstatat, 2, A(""), A(&st), AT_EMPTY_PATH);
	assert_int_equal(k->stdio, 4);
	fd = (int)call(SYS_dup, 1);
	call(SYS_lseek, A(fd), 0, SEEK_CUR);
	assert_int_equal(k->stdio, 6);
	assert_int_equal(observe_fd_origin(o, getpid(), fd), 1);
	call(SYS_close, A(fd));
	assert_int_equal(observe_fd_origin(o, getpid(), fd), -1);
	call(SYS_readlinkat, A(AT_FDCWD), A("/proc/self/fd/0"), A(buf), sizeof(buf));
	assert_int_equal(k->stdio, 7);
	assert_int_equal(dep_set_count(observe_deps(o)), 0);
	not_refused();
}

static void input(void **state)
{
	struct iovec iov = { (char[8]){ 0 }, 8 };
	int fd;

	(void)state;
	assert_int_equal(call(SYS_read, 0, A(iov.iov_base), 8), -ECANCELED);
	refused(false, "reads standard input before its readiness point");
	fd = (int)call(SYS_fcntl, 0, F_DUPFD_CLOEXEC, 20);
	assert_int_equal(call(SYS_readv, A(fd), A(&iov), 1), -ECANCELED);
	refused(false, "reads standard input");
	fd = (int)call(SYS_fcntl, 0, F_DUPFD_CLOEXEC, 20);
	call(SYS_dup3, A(open_at("/dev/null", O_RDONLY)), A(fd), 0);
	call(SYS_read, A(fd), A(iov.iov_base), 8);
	call(SYS_read, OWN_FD, A(iov.iov_base), 0);
	not_refused();
	observe_effects(o, false); /* what was read is gone, whatever the readiness point */
	call(SYS_read, 0, A(iov.iov_base), 8);
	refused(false, "reads standard input");
}

static void output(void **state)
{
	struct iovec iov[3] = { { (char[]){ "ab" }, 2 }, { NULL, 0 }, { (char[]){ "cdef" }, 4 } };
	const struct observe_output *out;
	int fds[2], fd;
	size_t n;

	(void)state;
	assert_int_equal(pipe(fds), 0);
	/* the calls are told, not made, so that the test's own output stays clean; 5 of 6 bytes were taken */
	tell(SYS_write, (uint64_t[6]){ 1, A("hello"), 5 }, true, 0);
	tell(SYS_write, (uint64_t[6]){ 1, A("hello"), 5 }, false, 3);
	tell(SYS_writev, (uint64_t[6]){ 2, A(iov), 3 }, false, 5);
	tell(SYS_write, (uint64_t[6]){ 1, A("x"), 1 }, false, -EAGAIN);
	call(SYS_write, A(fds[1]), A("inside"), 6);
	fd = (int)call(SYS_dup, 1);
	tell(SYS_write, (uint64_t[6]){ A(fd), A("!"), 1 }, false, 1);
	call(SYS_close, A(fd));
	out = observe_output(o, &n);
	assert_int_equal(n, 3);
	assert_int_equal(out[0].fd, 1);
	assert_int_equal(out[0].len, 3);
	assert_memory_equal(out[0].data, "hel", 3);
	assert_int_equal(out[1].fd, 2);
	assert_memory_equal(out[1].data, "abcde", 5);
	assert_int_equal(out[2].fd, 1);
	assert_memory_equal(out[2].data, "!", 1);
	not_refused();
	for (int i = 0; i < 70; i++)
		tell(SYS_write, (uint64_t[6]){ 1, A(out), 1024 }, false, observe_refusal(o) ? 0 : 1);
	not_refused();
	tell(SYS_write, (uint64_t[6]){ 1, A(root), sizeof(root) }, false, sizeof(root));
	for (int i = 0; i < 20 && !observe_refusal(o); i++)
		tell(SYS_write, (uint64_t[6]){ 1, A(root), sizeof(root) }, false, sizeof(root));
	refused(false, "writes more than 64 KiB of output");
	assert_int_equal(tell(SYS_sendfile, (uint64_t[6]){ 1, 60, 0, 10 }, true, 0), 1);
	refused(false, "writes to descriptor 1");
	close(fds[0]);
	close(fds[1]);
}

static void writes_refused(void **state)
{
	struct timespec times[2] = { 0 };

	(void)state;
	put("a", "one");
	put("b", "one");
	mkdir(at("d"), 0755);
	assert_int_equal(open_at(at("a"), O_WRONLY | O_TRUNC), -ECANCELED);
	refused(false, "opens ");
	assert_int_equal(open_at(at("a"), O_RDWR | O_CREAT), -ECANCELED);
	refused(false, at("a"));
	assert_int_equal(open_at(at("new"), O_WRONLY | O_CREAT), -ECANCELED);
	refused(true, at("new"));
	call(SYS_renameat2, A(AT_FDCWD), A(at("a")), A(AT_FDCWD), A(at("c")), 0);
	refused(false, "renames ");
	call(SYS_unlinkat, A(AT_FDCWD), A(at("a")), 0);
	refused(true, "removes ");
	call(SYS_unlinkat, A(AT_FDCWD), A(at("d")), AT_REMOVEDIR);
	refused(true, "removes ");
	call(SYS_fchmodat, A(AT_FDCWD), A(at("a")), 0600);
	refused(false, "changes the mode of ");
	call(SYS_utimensat, A(AT_FDCWD), A(at("a")), A(times), 0);
	refused(false, "changes the times of ");
	call(SYS_utimensat, A(open_at(at("a"), O_RDONLY)), 0, A(times), 0);
	refused(false, "changes the times of ");
	call(SYS_fchmod, A(open_at(at("a"), O_RDONLY)), 0600);
	refused(false, "changes the mode of ");
	call(SYS_truncate, A(at("a")), 0);
	refused(false, "truncates ");
	assert_int_equal(access(at("a"), F_OK), 0);
	assert_int_equal(access(at("new"), F_OK), -1);
	/* what fails is no effect */
	call(SYS_unlinkat, A(AT_FDCWD), A(at("none")), 0);
	call(SYS_mkdirat, A(AT_FDCWD), A(at("d")), 0755);
	assert_int_equal(open_at(at("a"), O_WRONLY | O_CREAT | O_EXCL), -EEXIST);
	assert_int_equal(open_at(at("d"), O_WRONLY), -EISDIR);
	assert_int_equal(open_at(at("none/x"), O_WRONLY | O_CREAT), -ENOENT);
	assert_non_null(dep(at("none"), DEP_ABSENT));
	assert_non_null(dep(at("none/x"), DEP_ABSENT));
	assert_non_null(dep(at("d"), DEP_EXISTS));
	assert_non_null(dep(at("a"), DEP_EXISTS));
	finish();
	not_refused();
}

static void devices(void **state)
{
	int fd = open_at("/dev/null", O_WRONLY);

	(void)state;
	assert_true(fd >= 0);
	call(SYS_write, A(fd), A("x"), 1);
	call(SYS_close, A(fd));
	assert_int_equal(symlink("/dev/null", at("log")), 0);
	assert_true(open_at(at("log"), O_WRONLY | O_CREAT | O_TRUNC) >= 0);
	assert_true(call(SYS_memfd_create, A("x"), 0) >= 0);
	not_refused();
	/* shells open it to see whether it is there */
	assert_false(observe_keys(o)->terminal);
	tell(SYS_openat, (uint64_t[6]){ A(AT_FDCWD), A("/dev/tty"), O_RDWR }, true, 0);
	tell(SYS_openat, (uint64_t[6]){ A(AT_FDCWD), A("/dev/tty"), O_RDWR }, false, 40);
	assert_true(observe_keys(o)->terminal);
	not_refused();
	assert_int_equal(tell(SYS_write, (uint64_t[6]){ 40, A("x"), 1 }, true, 0), 1);
	refused(false, "writes to the terminal");
}

static void own_files(void **state)
{
	int fd;

	(void)state;
	/* a temporary file that goes again */
	fd = open_at(at("tmp1"), O_RDWR | O_CREAT | O_EXCL);
	assert_true(fd >= 0);
	call(SYS_fchmod, A(fd), 0644);
	call(SYS_unlinkat, A(AT_FDCWD), A(at("tmp1")), 0);
	/* a directory of its own with anything in it */
	call(SYS_mkdirat, A(AT_FDCWD), A(at("own")), 0700);
	assert_true(open_at(at("own/x"), O_WRONLY | O_CREAT) >= 0);
	assert_true(open_at("own/x", O_RDWR) >= 0);
	call(SYS_mkdirat, A(AT_FDCWD), A(at("own/sub")), 0700);
	call(SYS_renameat2, A(AT_FDCWD), A(at("own/x")), A(AT_FDCWD), A(at("own/y")), 0);
	stat_at(at("own/y"));
	call(SYS_unlinkat, A(AT_FDCWD), A(at("own/y")), 0);
	call(SYS_unlinkat, A(AT_FDCWD), A(at("own/sub")), AT_REMOVEDIR);
	call(SYS_unlinkat, A(AT_FDCWD), A(at("own")), AT_REMOVEDIR);
	/* a semaphore: made under one name, linked, both removed */
	assert_true(open_at("/dev/shm/warm_test_a", O_RDWR | O_CREAT | O_EXCL) >= 0);
	call(SYS_linkat, A(AT_FDCWD), A("/dev/shm/warm_test_a"), A(AT_FDCWD), A("/dev/shm/warm_test_b"), 0);
	call(SYS_unlinkat, A(AT_FDCWD), A("/dev/shm/warm_test_a"), 0);
	call(SYS_unlinkat, A(AT_FDCWD), A("/dev/shm/warm_test_b"), 0);
	assert_true(open_at(root, O_TMPFILE | O_RDWR) >= 0);
	finish();
	not_refused();
	assert_int_equal(dep_set_count(observe_deps(o)), 0);
}

static void left_behind(void **state)
{
	(void)state;
	call(SYS_mkdirat, A(AT_FDCWD), A(at("cache")), 0700);
	not_refused();
	finish();
	refused(true, "makes ");
	/* written aside and moved into place */
	assert_true(open_at(at("tmp1"), O_WRONLY | O_CREAT | O_EXCL) >= 0);
	assert_int_equal(call(SYS_renameat2, A(AT_FDCWD), A(at("tmp1")), A(AT_FDCWD), A(at("final")), 0), 0);
	not_refused();
	finish();
	refused(true, at("final"));
	assert_true(open_at(at("tmp1"), O_WRONLY | O_CREAT | O_EXCL) >= 0);
	assert_int_equal(call(SYS_renameat2, A(AT_FDCWD), A(at("tmp1")), A(AT_FDCWD), A(at("final")), 0),
			 -ECANCELED);
	refused(false, "replaces ");
}

static void bytecode(void **state)
{
	int fd;

	(void)state;
	put("m.py", "");
	list(root, true);
	observe_modules_dir(o, root);
	stat_at(at("__pycache__/m.pyc"));
	assert_non_null(dep(at("__pycache__/m.pyc"), DEP_ABSENT));
	assert_int_equal(call(SYS_mkdirat, A(AT_FDCWD), A(at("__pycache__")), 0755), 0);
	fd = open_at(at("__pycache__/m.pyc.1234"), O_WRONLY | O_CREAT | O_EXCL);
	assert_int_equal(call(SYS_write, A(fd), A("code"), 4), 4);
	assert_int_equal(call(SYS_renameat2, A(AT_FDCWD), A(at("__pycache__/m.pyc.1234")), A(AT_FDCWD),
			      A(at("__pycache__/m.pyc")), 0),
			 0);
	finish();
	not_refused();
	assert_non_null(dep(at("__pycache__/m.pyc"), DEP_FILE));
	assert_null(dep(at("__pycache__/m.pyc"), DEP_ABSENT));
	assert_int_equal(dep_set_check(observe_deps(o), NULL), 0);
}

static void effects_unchecked(void **state)
{
	int fd;

	(void)state;
	put("a", "one");
	observe_effects(o, false);
	stat_at(at("new"));
	fd = open_at(at("new"), O_RDWR | O_CREAT | O_TRUNC);
	assert_int_equal(call(SYS_write, A(fd), A("x"), 1), 1);
	stat_at(at("a"));
	fd = open_at(at("a"), O_RDWR);
	assert_int_equal(call(SYS_write, A(fd), A("zwei"), 4), 4);
	call(SYS_mkdirat, A(AT_FDCWD), A(at("d")), 0755);
	call(SYS_unlinkat, A(AT_FDCWD), A(at("d")), AT_REMOVEDIR);
	finish();
	not_refused();
	assert_int_equal(dep_set_check(observe_deps(o), NULL), 0);
	assert_non_null(dep(at("new"), DEP_FILE));
}

static void final_wins(void **state)
{
	(void)state;
	put("a", "");
	allow = true;
	open_at(at("new"), O_WRONLY | O_CREAT);
	assert_true(observe_refusal(o)->retryable);
	open_at(at("a"), O_WRONLY);
	open_at(at("new2"), O_WRONLY | O_CREAT);
	refused(false, at("a"));
}

static void sockets(void **state)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr = { htonl(INADDR_LOOPBACK) },
				  .sin_port = htons(9) };
	int fd, pair[2];

	(void)state;
	snprintf(un.sun_path, sizeof(un.sun_path), "%.60s/sock", root);
	fd = (int)call(SYS_socket, AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(call(SYS_connect, A(fd), A(&un), sizeof(un)), -ENOENT);
	assert_non_null(dep(at("sock"), DEP_ABSENT));
	assert_int_equal(call(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, A(pair)), 0);
	assert_int_equal(call(SYS_sendto, A(pair[0]), A("x"), 1, 0, 0, 0), 1);
	not_refused();
	call(SYS_bind, A(fd), A(&un), sizeof(un));
	refused(false, "binds a socket to ");
	fd = (int)call(SYS_socket, AF_UNIX, SOCK_DGRAM, 0);
	assert_int_equal(call(SYS_sendto, A(fd), A("x"), 1, 0, A(&un), sizeof(un)), -ECANCELED);
	refused(false, "sends to ");
	fd = (int)call(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(call(SYS_connect, A(fd), A(&in), sizeof(in)), 0);
	not_refused();
	assert_int_equal(call(SYS_write, A(fd), A("x"), 1), -ECANCELED);
	refused(false, "sends to the network");
	fd = (int)call(SYS_socket, AF_INET, SOCK_STREAM, 0);
	tell(SYS_connect, (uint64_t[6]){ A(fd), A(&in), sizeof(in) }, false, -ECONNREFUSED);
	not_refused();
	tell(SYS_connect, (uint64_t[6]){ A(fd), A(&in), sizeof(in) }, false, -EINPROGRESS);
	refused(false, "connects to 127.0.0.1:9");
	fd = (int)call(SYS_socket, AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(call(SYS_sendto, A(fd), A("x"), 1, 0, A(&in), sizeof(in)), -ECANCELED);
	refused(false, "sends to 127.0.0.1:9");
	fd = (int)call(SYS_socket, AF_NETLINK, SOCK_RAW, 0);
	call(SYS_bind, A(fd), A((struct sockaddr[1]){ { .sa_family = AF_NETLINK } }), 12);
	not_refused();
}

static void signals(void **state)
{
	(void)state;
	call(SYS_kill, 1, 0);
	tell(SYS_kill, (uint64_t[6]){ A(getpid()), SIGTERM }, true, 0);
	tell(SYS_tgkill, (uint64_t[6]){ A(getpid()), A(getpid()), SIGTERM }, true, 0);
	not_refused();
	tell(SYS_kill, (uint64_t[6]){ 1, SIGTERM }, true, 0);
	refused(false, "sends signal 15 to process 1");
	tell(SYS_kill, (uint64_t[6]){ A(-1), SIGTERM }, true, 0);
	refused(false, "sends signal 15");
	tell(SYS_tgkill, (uint64_t[6]){ 1, 1, SIGKILL }, true, 0);
	refused(false, "sends signal 9 to process 1");
}

static void unobservable(void **state)
{
	(void)state;
	observe_effects(o, false);
	tell(SYS_io_uring_setup, (uint64_t[6]){ 1 }, false, -EPERM);
	tell(SYS_mount, (uint64_t[6]){ 1 }, false, 0);
	not_refused();
	tell(SYS_io_uring_setup, (uint64_t[6]){ 1 }, false, 5);
	refused(false, "io_uring");
	tell(SYS_mount, (uint64_t[6]){ 1 }, false, -EPERM);
	not_refused();
	tell(SYS_mount, (uint64_t[6]){ 1 }, false, 0);
	refused(false, "mounts a file system");
}

/* a child has its parent's descriptors as they were, and its own from then on */
static void children(void **state)
{
	struct observe_call c = { .nr = SYS_dup3, .args = { 1, 30 }, .ret = 30 };
	struct error err;
	pid_t pid;

	(void)state;
	tell(SYS_dup3, (uint64_t[6]){ 0, 31 }, false, 31);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	tell(SYS_clone, (uint64_t[6]){ SIGCHLD }, false, pid);
	tell(SYS_close, (uint64_t[6]){ 31 }, false, 0);
	assert_int_equal(observe_fd_origin(o, getpid(), 31), -1);
	assert_int_equal(observe_fd_origin(o, pid, 31), 0);
	c.tid = pid;
	assert_int_equal(observe_syscall(o, &c, &err), 0);
	assert_int_equal(observe_fd_origin(o, pid, 30), 1);
	assert_int_equal(observe_fd_origin(o, getpid(), 30), -1);
	c = (struct observe_call){ .tid = pid, .nr = SYS_read, .args = { 31 }, .entry = true };
	assert_int_equal(observe_syscall(o, &c, &err), 1);
	assert_int_equal(observe_refusal(o)->tid, pid);
	fresh();
	tell(SYS_clone, (uint64_t[6]){ SIGCHLD }, false, pid);
	tell(SYS_kill, (uint64_t[6]){ A(pid), SIGTERM }, true, 0);
	not_refused();
	observe_exited(o, pid);
	observe_exited(o, pid);
	tell(SYS_kill, (uint64_t[6]){ A(pid), SIGTERM }, true, 0);
	refused(false, "sends signal 15");
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void wants(void **state)
{
	(void)state;
	assert_true(observe_wants(SYS_openat));
	assert_true(observe_wants(SYS_execve));
	assert_false(observe_wants(SYS_futex));
	assert_false(observe_wants(SYS_brk));
	assert_false(observe_wants(-1));
	assert_false(observe_wants(100000));
}

static ssize_t no_memory(void *data, pid_t tid, uint64_t addr, void *buf, size_t len)
{
	(void)tid, (void)addr, (void)buf, (void)len;
	++*(int *)data;
	return -EFAULT;
}

static void reader(void **state)
{
	int count = 0;

	(void)state;
	observe_set_reader(o, no_memory, &count);
	tell(SYS_openat, (uint64_t[6]){ A(AT_FDCWD), A("/"), O_RDONLY }, false, 50);
	assert_int_equal(count, 1);
	assert_int_equal(dep_set_count(observe_deps(o)), 0);
}

static void fast(void **state)
{
	struct timespec a, b;
	char name[64];

	(void)state;
	clock_gettime(CLOCK_MONOTONIC, &a);
	for (int i = 0; i < 20000; i++) {
		snprintf(name, sizeof(name), "%.40s/f%d", root, i % 6000);
		tell(SYS_newfstatat, (uint64_t[6]){ A(AT_FDCWD), A(name), 0, 0 }, true, 0);
		tell(SYS_newfstatat, (uint64_t[6]){ A(AT_FDCWD), A(name), 0, 0 }, false, -ENOENT);
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	print_message("20000 calls: %.1f ms\n",
		      (double)(b.tv_sec - a.tv_sec) * 1e3 + (double)(b.tv_nsec - a.tv_nsec) / 1e6);
	assert_int_equal(dep_set_count(observe_deps(o)), 6000);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(looks),
		TEST(relative_paths),
		TEST(ignored_and_synthetic),
		TEST(replaced_meanwhile),
		TEST(bad_pointers),
		TEST(listings),
		TEST(programs),
		TEST(keys),
		TEST(keys_of_others),
		TEST(stdio),
		TEST(input),
		TEST(output),
		TEST(writes_refused),
		TEST(devices),
		TEST(own_files),
		TEST(left_behind),
		TEST(bytecode),
		TEST(effects_unchecked),
		TEST(final_wins),
		TEST(sockets),
		TEST(signals),
		TEST(unobservable),
		TEST(children),
		TEST(wants),
		TEST(reader),
		TEST(fast),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
