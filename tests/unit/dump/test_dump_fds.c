/* SPDX-License-Identifier: MIT */
/* Which descriptors belong together: what the kernel says, and what is done where it says nothing */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/stub/image.h"
#include "snapshot/dump/dump.h"
#include "snapshot/kinds/unix_diag.h"

static uint64_t inode(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_ino;
}

static void test_unix_diag(void **state)
{
	struct unix_diag d;
	int a[2], b[2], lone = socket(AF_UNIX, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
	assert_int_equal(unix_diag(inode(a[0]), &d), 0);
	assert_true(d.connected && d.peer == inode(a[1]) && d.shutdown == 0);
	assert_int_equal(shutdown(b[1], SHUT_WR), 0);
	assert_int_equal(unix_diag(inode(b[1]), &d), 0);
	assert_true(d.connected && d.peer == inode(b[0]) && d.shutdown == 2);
	assert_int_equal(unix_diag(inode(b[0]), &d), 0);
	assert_true(d.peer == inode(b[1]) && d.shutdown == 1);
	close(a[0]);
	assert_int_equal(unix_diag(inode(a[1]), &d), 0);
	assert_true(d.connected && d.peer == 0 && d.shutdown == 3);
	assert_int_equal(unix_diag(inode(lone), &d), 0);
	assert_false(d.connected);
	assert_int_equal(unix_diag(0, &d), -ENOENT);
	assert_int_equal(unix_diag((uint64_t)UINT32_MAX + 1 + inode(b[0]), &d), -ENOENT);
	close(a[1]);
	close(b[0]);
	close(b[1]);
	close(lone);
}

/* kcmp(2) fails with EPERM in this process from here on */
static void forbid_kcmp(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kcmp, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(*code), code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
		_exit(100);
}

/* the record of a child that has two descriptors beside its standard ones. Return: of dump_descriptors() */
static int dump(struct model **ret, struct error *err)
{
	const bool outside[3] = { true, true, true };
	struct dump_options o = { .skip_fd = -1, .outside = outside, .noutside = 3 };
	struct model *rec = model_new(1);
	struct frozen_process frozen = { 0 };
	int go[2], r;
	pid_t child;
	char c;

	if (pipe(go) < 0)
		return -errno;
	child = fork();
	if (child == 0) {
		int pair[2];

		syscall(SYS_close_range, 3, ~0u, 0);
		socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
		c = write(1, "", 0) < 0;
		kill(getpid(), SIGSTOP);
		_exit(c);
	}
	waitpid(child, NULL, WUNTRACED);
	rec->processes[0].pid = child;
	frozen.pid = child;
	frozen.pidfd = (int)syscall(SYS_pidfd_open, child, 0);
	r = dump_descriptors(&frozen, &o, rec, &rec->processes[0], err);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
	close(frozen.pidfd);
	close(go[0]);
	close(go[1]);
	*ret = rec;
	return r;
}

static void test_pair(void **state)
{
	struct error err = { 0 };
	struct model *rec;

	(void)state;
	assert_int_equal(dump(&rec, &err), 0);
	assert_int_equal(rec->fd_tables[0].nfds, 2);
	assert_int_equal(rec->ndescriptions, 2);
	assert_int_equal(rec->descriptions[0].kind, MODEL_FD_SOCKETPAIR);
	assert_int_equal(rec->descriptions[0].peer, 1);
	assert_int_equal(rec->descriptions[1].peer, 0);
	model_free(rec);
}

/* whether two descriptors share an open file is not guessed */
static void test_kcmp_that_fails(void **state)
{
	int status;
	pid_t child = fork();

	(void)state;
	if (child == 0) {
		struct error err = { 0 };
		struct model *rec;

		forbid_kcmp();
		_exit(dump(&rec, &err) == -EOPNOTSUPP && strstr(err.text, "kcmp: Operation not permitted")
			      ? 0
			      : 1);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_unix_diag),
		cmocka_unit_test(test_pair),
		cmocka_unit_test(test_kcmp_that_fails),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
