/* SPDX-License-Identifier: MIT */
/* the observer: what a program does to others is refused */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/observed.h"

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
	char shm_a[64], shm_b[64];
	int fd;

	(void)state;
	/* /dev/shm is everybody's */
	snprintf(shm_a, sizeof(shm_a), "/dev/shm/warm_test_%d_a", (int)getpid());
	snprintf(shm_b, sizeof(shm_b), "/dev/shm/warm_test_%d_b", (int)getpid());
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
	assert_true(open_at(shm_a, O_RDWR | O_CREAT | O_EXCL) >= 0);
	call(SYS_linkat, A(AT_FDCWD), A(shm_a), A(AT_FDCWD), A(shm_b), 0);
	call(SYS_unlinkat, A(AT_FDCWD), A(shm_a), 0);
	call(SYS_unlinkat, A(AT_FDCWD), A(shm_b), 0);
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
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
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
	/* a port of the kernel's choice, until somebody could connect to it */
	in.sin_port = 0;
	fd = (int)call(SYS_socket, AF_INET, SOCK_STREAM, 0);
	assert_int_equal(call(SYS_bind, A(fd), A(&in), sizeof(in)), 0);
	not_refused();
	assert_int_equal(call(SYS_listen, A(fd), 1), 0);
	refused(false, "listens on a socket");
	fd = (int)call(SYS_socket, AF_INET6, SOCK_STREAM, 0);
	tell(SYS_bind, (uint64_t[6]){ A(fd), A(&in6), sizeof(in6) }, false, 0);
	not_refused();
	in6.sin6_port = htons(80);
	tell(SYS_bind, (uint64_t[6]){ A(fd), A(&in6), sizeof(in6) }, false, 0);
	refused(false, "binds a socket to [::]:80");
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

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, observed_setup, observed_teardown)
	const struct CMUnitTest tests[] = {
		TEST(writes_refused), TEST(devices),	       TEST(own_files),	 TEST(left_behind),
		TEST(bytecode),	      TEST(effects_unchecked), TEST(final_wins), TEST(sockets),
		TEST(signals),	      TEST(unobservable),
	};

	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
