/* SPDX-License-Identifier: MIT */
/* who holds the other end of a connection, and whether it is as this process is */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "warmd/connection/peer.h"

static struct error err;
static int to_child, from_child;

/* at an address that the kernel makes up: unix(7), autobind */
static int listening(struct sockaddr_un *a, socklen_t *len)
{
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	*len = sizeof(*a);
	assert_int_equal(bind(fd, (struct sockaddr *)a, sizeof(a->sun_family)), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)a, len), 0);
	return fd;
}

/* a child that connects, does as it is told, says a byte, and lives until it is ended. Return: the accepted socket */
static int connected(void (*act)(int), pid_t *ret)
{
	struct sockaddr_un a;
	socklen_t len;
	int listener = listening(&a, &len), in[2], out[2], sock;
	char c;

	assert_true(pipe(in) == 0 && pipe(out) == 0);
	*ret = fork();
	if (*ret == 0) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

		close(in[1]);
		if (connect(fd, (struct sockaddr *)&a, len) < 0)
			_exit(1);
		if (act)
			act(fd);
		if (write(out[1], "", 1) == 1)
			(void)!read(in[0], &c, 1);
		_exit(0);
	}
	sock = accept(listener, NULL, NULL);
	assert_true(sock >= 0);
	assert_int_equal(read(out[0], &c, 1), 1);
	close(listener);
	close(in[0]);
	close(out[1]);
	to_child = in[1];
	from_child = out[0];
	return sock;
}

static void end(pid_t pid, int sock)
{
	close(to_child);
	close(from_child);
	close(sock);
	waitpid(pid, NULL, 0);
}

static void as_this_process(void **state)
{
	pid_t pid;
	int sock = connected(NULL, &pid);

	(void)state;
	if (peer_compare(sock, &err) < 0)
		fail_msg("%s", err.text);
	assert_true(peer_holds(sock, pid));
	assert_false(peer_holds(sock, getpid()));
	assert_false(peer_holds(sock, 1));
	end(pid, sock);
}

static void gives_up(int fd)
{
	(void)fd;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static void with_fewer_rights(void **state)
{
	pid_t pid;
	int sock = connected(gives_up, &pid);

	(void)state;
	assert_int_equal(peer_compare(sock, &err), -EACCES);
	assert_non_null(strstr(err.text, "the caller and warmd differ in NoNewPrivs"));
	assert_true(peer_holds(sock, pid));
	end(pid, sock);
}

/* the connection lives on in a child: whoever gets the number next must not be taken for it */
static void leaves_it(int fd)
{
	(void)fd;
	if (fork() > 0)
		_exit(0);
}

static void gone(void **state)
{
	pid_t pid;
	int sock = connected(leaves_it, &pid);

	(void)state;
	waitpid(pid, NULL, 0);
	assert_int_equal(peer_compare(sock, &err), -EACCES);
	assert_non_null(strstr(err.text, "the caller has ended"));
	assert_false(peer_holds(sock, pid));
	end(pid, sock);
}

static void closes(int fd)
{
	close(fd);
}

static void closed(void **state)
{
	pid_t pid;
	int sock = connected(closes, &pid);

	(void)state;
	assert_false(peer_holds(sock, pid));
	end(pid, sock);
}

static void *says_so(void *arg)
{
	char path[64], text[512] = "";
	FILE *f;

	/* until the first is a zombie */
	do {
		snprintf(path, sizeof(path), "/proc/%d/stat", getpid());
		f = fopen(path, "re");
		if (!f || !fgets(text, sizeof(text), f))
			_exit(1);
		fclose(f);
		sched_yield();
	} while (!strstr(text, ") Z "));
	if (write(*(int *)arg, "", 1) == 1)
		pause();
	return NULL;
}

/* the others go on, and are those that count */
static void first_thread_has_ended(void **state)
{
	struct sockaddr_un a;
	socklen_t len;
	int listener = listening(&a, &len), said[2], sock;
	char c;
	pid_t pid;

	(void)state;
	assert_int_equal(pipe(said), 0);
	pid = fork();
	if (pid == 0) {
		int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);
		pthread_t thread;

		if (connect(fd, (struct sockaddr *)&a, len) < 0)
			_exit(1);
		pthread_create(&thread, NULL, says_so, &said[1]);
		pthread_exit(NULL);
	}
	sock = accept(listener, NULL, NULL);
	close(listener);
	assert_int_equal(read(said[0], &c, 1), 1);
	if (peer_compare(sock, &err) < 0)
		fail_msg("%s", err.text);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	assert_int_equal(peer_compare(sock, &err), -EACCES);
	close(sock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(as_this_process),
		cmocka_unit_test(with_fewer_rights),
		cmocka_unit_test(gone),
		cmocka_unit_test(closed),
		cmocka_unit_test(first_thread_has_ended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
