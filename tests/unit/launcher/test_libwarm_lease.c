/* SPDX-License-Identifier: MIT */
/* launches from leases, against a warmd of the test's: launcher/libwarm_lease.h */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "engine/stub/order.h"
#include "tests/unit/launcher/fake_warmd.h"

#define NAMES  "COUNTS\0TOO"
#define PREFIX "prefix"

static char *args[] = { (char *)"prog", (char *)"one", NULL };
static char *env[] = { (char *)"A=1", (char *)"COUNTS=1", NULL };

/* --- warmd's side ------------------------------------------------------------------------ */

static int inotify_fd, drain_fd;
static struct wire_drain *drain;
static char watched[] = "/tmp/test.XXXXXX";

/* what the model says: "prog" counts and is replaced by a fixed argument, and so does COUNTS */
static void send_model(int conn, const struct asked *a, uint64_t number)
{
	static uint64_t bytes[WIRE_MODEL_MAX / 8];
	struct wire_model *m = (struct wire_model *)bytes;
	struct wire_run *run = (struct wire_run *)(m + 1);
	struct stub_order *order = (struct stub_order *)(run + 1);
	char *at = (char *)(order + 1);
	int fds[2] = { inotify_fd, drain_fd };

	*m = (struct wire_model){ .model = number,
				  .order_size = sizeof(*order),
				  .argv_same = 1,
				  .argv_from = 1,
				  .fixed_argc = 1,
				  .fixed_size = sizeof(PREFIX),
				  .names_size = sizeof(NAMES),
				  .strings_room = 4096 };
	*run = a->run;
	*order = (struct stub_order){ .magic = STUB_ORDER_MAGIC,
				      .umask = 027,
				      .stdio = 4 | STUB_SAME_ARGUMENTS | STUB_SAME_ENVIRONMENT };
	at = mempcpy(at, a->bytes + sizeof(a->run) / 8, a->run.strings_size);
	at = mempcpy(at, PREFIX, sizeof(PREFIX));
	at = mempcpy(at, NAMES, sizeof(NAMES));
	m->header = (struct wire_header){ WIRE_MAGIC, WIRE_VERSION_NUMBER, WIRE_MODEL,
					  (uint32_t)(at - (char *)m), 0 };
	fake_send(conn, m, m->header.size, fds, 2);
}

static int lent[2] = { -1, -1 }; /* as client and warmd have it; as the clone does */

static void send_lease(int conn, uint64_t model, uint64_t number)
{
	struct wire_lease m = {
		.header = { WIRE_MAGIC, WIRE_VERSION_NUMBER, WIRE_LEASE, sizeof(m), 0 },
		.model = model,
		.clone = number,
		.generation = 1000 + number,
		.pid = (uint32_t)getpid(),
	};
	int fds[2];

	fd_close(lent[0]);
	fd_close(lent[1]);
	must(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, lent) == 0);
	fds[0] = lent[0];
	fds[1] = pidfd_open_process(getpid());
	must(fds[1] >= 0);
	fake_send(conn, &m, sizeof(m), fds, 2);
	close(fds[1]);
}

/* the client asks twice, the second time for leases; it has one when it knows of the second clone's end */
static int begin(void)
{
	int conn = fake_accept();
	struct asked *a = fake_take(conn);

	must(!a->run.leases);
	fake_launched(conn, a->run.tag, 0);
	fake_exited(conn, a->run.tag, getpid(), 0);
	a = fake_take(conn);
	must(a->run.leases);
	fake_launched(conn, a->run.tag, 0);
	inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	drain_fd = memfd_create("drain", MFD_CLOEXEC);
	must(inotify_add_watch(inotify_fd, watched, IN_CREATE) >= 0 &&
	     ftruncate(drain_fd, sizeof(*drain)) == 0);
	drain = mmap(NULL, sizeof(*drain), PROT_READ | PROT_WRITE, MAP_SHARED, drain_fd, 0);
	must(drain != MAP_FAILED);
	send_model(conn, a, 1);
	send_lease(conn, 1, 7);
	fake_exited(conn, a->run.tag, getpid(), 0);
	return conn;
}

static struct wire_taken take_taken(int conn, uint64_t clone)
{
	static uint64_t bytes[64];
	struct wire_taken *t = (struct wire_taken *)bytes;
	struct packet p;

	must(packet_receive(conn, bytes, sizeof(bytes), &p, 0) == 0 && p.nfds == 0);
	must(t->header.type == WIRE_TAKEN && t->header.size == p.len && t->clone == clone);
	return *t;
}

struct received {
	struct stub_order o;
	char strings[512];
	struct packet p;
};

static struct received *take_order(void)
{
	static struct received r;

	must(packet_receive(lent[1], &r, offsetof(struct received, p), &r.p, 0) == 0);
	packet_close_fds(&r.p);
	return &r;
}

/* a launch that comes from the lease */
static void expect_direct(int conn, uint64_t clone, int wstatus)
{
	struct received *r = take_order();
	struct wire_taken t = take_taken(conn, clone);

	must(r->o.magic == STUB_ORDER_MAGIC && r->o.generation == 1000 + clone && r->p.len == r->o.size);
	must(t.tag && t.start_ns && t.start_ns <= t.order_ns);
	fake_exited(conn, t.tag, getpid(), wstatus);
}

/* one that comes here */
static void expect_asked(int conn)
{
	struct asked *a = fake_take(conn);

	fake_launched(conn, a->run.tag, 0);
	fake_exited(conn, a->run.tag, getpid(), 0);
}

/* --- the client's side ------------------------------------------------------------------------ */

static int run_with(char **argv, char **envp, int in)
{
	struct warm_launch_options o = options("t");
	int wstatus = -1, r;
	pid_t pid;

	o.argv = argv;
	o.envp = envp;
	o.fds[0] = in;
	r = warm_launch(w, &o, &pid, NULL);
	assert_int_equal(r, 0);
	assert_int_equal(warm_wait(w, pid, &wstatus), 0);
	return wstatus;
}

static int run(void)
{
	return run_with(args, env, -1);
}

static void start(void (*script)(void))
{
	strcpy(watched + sizeof(watched) - 7, "XXXXXX");
	assert_non_null(mkdtemp(watched));
	fake_start(script);
	assert_int_equal(warm_open(&w, NULL), 0);
	assert_int_equal(run(), 0);
	assert_int_equal(run(), 0);
}

static void finish(void)
{
	warm_close(w);
	w = NULL;
	fake_end();
	rmdir(watched);
}

/* --- tests -------------------------------------------------------------------------------------------- */

static void script_order(void)
{
	static const char strings[] = PREFIX "\0two\0B=2\0COUNTS=1";
	int conn = begin();
	struct received *r = take_order();
	struct wire_taken t = take_taken(conn, 7);

	must(r->o.argc == 2 && r->o.envc == 2 && r->o.umask == 027 && r->o.generation == 1007);
	must(r->o.stdio == 4 && r->p.len == r->o.size && r->o.size == sizeof(r->o) + sizeof(strings));
	must(r->o.argv_size + r->o.env_size == sizeof(strings) && r->o.argv_size == sizeof(PREFIX) + 4);
	must(memcmp(r->strings, strings, sizeof(strings)) == 0);
	/* the next one is there before the end is told */
	send_lease(conn, 1, 8);
	fake_exited(conn, t.tag, getpid(), 3 << 8);
	r = take_order();
	must(r->o.stdio == (4 | STUB_SAME_ARGUMENTS | STUB_SAME_ENVIRONMENT));
	t = take_taken(conn, 8);
	fake_exited(conn, t.tag, getpid(), 0);
	expect_asked(conn);
	must(fake_ended(conn));
}

static void order(void **state)
{
	char *other[] = { (char *)"prog", (char *)"two", NULL };
	char *envp[] = { (char *)"B=2", (char *)"COUNTS=1", NULL };

	(void)state;
	start(script_order);
	assert_int_equal(run_with(other, envp, -1), 3 << 8);
	assert_int_equal(run(), 0);
	assert_int_equal(run(), 0);
	finish();
}

static void script_unlike(void)
{
	int conn = begin();

	for (int i = 0; i < 7; i++)
		expect_asked(conn);
	expect_direct(conn, 7, 0);
	must(fake_ended(conn));
}

/* whatever counts, or might, goes through warmd; the lease stays */
static void unlike(void **state)
{
	char *prog[] = { (char *)"another", (char *)"one", NULL };
	char *counts[] = { (char *)"A=1", (char *)"COUNTS=2", NULL };
	char *without[] = { (char *)"A=1", NULL };
	char *locale[] = { (char *)"A=1", (char *)"COUNTS=1", (char *)"LC_ALL=C", NULL };
	char *more[] = { (char *)"TOO=1", (char *)"A=1", (char *)"COUNTS=1", NULL };
	int pair[2];

	(void)state;
	assert_int_equal(pipe2(pair, O_CLOEXEC), 0);
	start(script_unlike);
	run_with(prog, env, -1);
	run_with(args, counts, -1);
	run_with(args, without, -1);
	run_with(args, locale, -1);
	run_with(args, more, -1);
	run_with(args, NULL, -1);
	run_with(args, env, pair[0]);
	run();
	finish();
	close(pair[0]);
	close(pair[1]);
}

static void script_events(void)
{
	int conn = begin();
	char path[64], buf[512];
	struct asked *a;

	snprintf(path, sizeof(path), "%s/new", watched);
	expect_direct(conn, 7, 0);
	expect_asked(conn);
	/* unread from before the next launch on: it begins when it knows of this one's end */
	a = fake_take(conn);
	must(close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600)) == 0);
	send_lease(conn, 1, 8);
	fake_launched(conn, a->run.tag, 0);
	fake_exited(conn, a->run.tag, getpid(), 0);
	a = fake_take(conn);
	/* read, and not dealt with */
	drain->busy = 1;
	must(read(inotify_fd, buf, sizeof(buf)) > 0);
	fake_launched(conn, a->run.tag, 0);
	fake_exited(conn, a->run.tag, getpid(), 0);
	a = fake_take(conn);
	drain->busy = 0;
	fake_launched(conn, a->run.tag, 0);
	fake_exited(conn, a->run.tag, getpid(), 0);
	expect_direct(conn, 8, 0);
	must(unlink(path) == 0);
	must(fake_ended(conn));
}

/* no lease is used while warmd may have something to take in */
static void events(void **state)
{
	(void)state;
	start(script_events);
	for (int i = 0; i < 6; i++)
		run();
	finish();
}

static void script_revoked(void)
{
	int conn = begin();
	struct asked *a;

	expect_direct(conn, 7, 0);
	a = fake_take(conn);
	send_lease(conn, 1, 8);
	must(shutdown(lent[0], SHUT_WR) == 0);
	fake_launched(conn, a->run.tag, 0);
	fake_exited(conn, a->run.tag, getpid(), 0);
	must(take_taken(conn, 8).tag == 0);
	a = fake_take(conn);
	/* a clone that is dead */
	send_lease(conn, 1, 9);
	lent[1] = fd_close(lent[1]);
	fake_launched(conn, a->run.tag, 0);
	fake_exited(conn, a->run.tag, getpid(), 0);
	must(take_taken(conn, 9).tag == 0);
	expect_asked(conn);
	must(fake_ended(conn));
}

static void revoked(void **state)
{
	(void)state;
	start(script_revoked);
	for (int i = 0; i < 4; i++)
		run();
	finish();
}

static int told[2]; /* script to client: go on */

static void listen_to_script(void)
{
	assert_int_equal(pipe2(told, O_CLOEXEC), 0);
}

static void go_on(void)
{
	char byte;

	assert_int_equal(read(told[0], &byte, 1), 1);
	close(told[0]);
	close(told[1]);
}

static void script_gone(void)
{
	int conn = begin(), next;
	char byte;

	lent[0] = fd_close(lent[0]);
	close(conn);
	must(write(told[1], "", 1) == 1);
	/* the client has let go of the lease, and without an order */
	next = fake_accept();
	expect_asked(next);
	must(read(lent[1], &byte, 1) == 0);
	must(fake_ended(next));
}

static void gone(void **state)
{
	(void)state;
	listen_to_script();
	start(script_gone);
	go_on();
	run();
	finish();
}

static void script_mounts(void)
{
	int conn = begin();
	struct asked *a;

	expect_direct(conn, 7, 0);
	a = fake_take(conn);
	fake_launched(conn, a->run.tag, 0);
	send_lease(conn, 1, 8);
	must(mount("none", watched, "tmpfs", 0, NULL) == 0);
	fake_exited(conn, a->run.tag, getpid(), 0);
	fake_exited(conn, 1u << 30, getpid(), 0); /* nobody's; unread when the next launch begins */
	must(write(told[1], "", 1) == 1);
	/* granted before, or by a warmd that had not read of the change */
	must(take_taken(conn, 8).tag == 0);
	a = fake_take(conn);
	send_model(conn, a, 2);
	send_lease(conn, 2, 9);
	fake_launched(conn, a->run.tag, 0);
	must(take_taken(conn, 9).tag == 0);
	send_model(conn, a, 3);
	send_lease(conn, 3, 10);
	fake_exited(conn, a->run.tag, getpid(), 0);
	expect_direct(conn, 10, 0);
	must(umount2(watched, MNT_DETACH) == 0);
	must(fake_ended(conn));
}

/* from here on, mounts of its own. Return: false: the host offers none */
static bool own_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 && unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0)
		return false;
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

/* each open file tells of a change of mounts once: it counts though something else is to be read as well */
static void mounts(void **state)
{
	(void)state;
	if (!own_mounts())
		skip();
	listen_to_script();
	start(script_mounts);
	run();
	run();
	go_on();
	run();
	run();
	finish();
}

/* warmd died after the clone had its order */
static void script_orphan(void)
{
	int conn = begin();
	struct received *r = take_order();

	must(r->o.magic == STUB_ORDER_MAGIC);
	take_taken(conn, 7);
	close(conn);
}

static void orphan(void **state)
{
	struct warm_launch_options o = options("t");
	int wstatus = -1, pidfd, r;
	pid_t pid;

	(void)state;
	start(script_orphan);
	o.argv = args;
	o.envp = env;
	assert_int_equal(warm_launch(w, &o, &pid, &pidfd), 0);
	assert_true(pidfd > 2 && fcntl(pidfd, F_GETFD) & FD_CLOEXEC);
	/* the pidfd is the fake's own, which is our child: a zombie until fake_end() */
	r = warm_wait(w, pid, &wstatus);
	assert_int_equal(r, 0);
	assert_int_equal(wstatus, 0);
	close(pidfd);
	finish();
}

static void script_malformed(void)
{
	int conn = begin(), next;
	struct asked *a = NULL;

	expect_direct(conn, 7, 0);
	a = fake_take(conn);
	/* of no model: given back */
	send_lease(conn, 5, 8);
	a->run.argc = 99;
	send_model(conn, a, 2);
	must(take_taken(conn, 8).tag == 0);
	must(fake_ended(conn));
	next = fake_accept();
	expect_asked(next);
	must(fake_ended(next));
}

static void malformed(void **state)
{
	struct warm_launch_options o = options("t");

	(void)state;
	start(script_malformed);
	run();
	o.argv = args;
	o.envp = env;
	/* the connection is lost over it */
	assert_int_equal(warm_launch(w, &o, NULL, NULL), -EBADMSG);
	run();
	finish();
}

#define THREADS 4

static void script_threads(void)
{
	int conn = begin(), direct = 0, asked = 0;

	while (direct + asked < THREADS) {
		struct wire_header h;

		must(recv(conn, &h, sizeof(h), MSG_PEEK) == sizeof(h));
		if (h.type == WIRE_TAKEN) {
			expect_direct(conn, 7, 0);
			direct++;
		} else {
			expect_asked(conn);
			asked++;
		}
	}
	must(direct == 1);
	must(fake_ended(conn));
}

static void *thread(void *ret)
{
	struct warm_launch_options o = options("t");
	int wstatus = -1;
	pid_t pid;

	o.argv = args;
	o.envp = env;
	*(int *)ret = warm_launch(w, &o, &pid, NULL);
	if (*(int *)ret == 0)
		*(int *)ret = warm_wait(w, pid, &wstatus);
	return NULL;
}

/* one lease, launched once */
static void threads(void **state)
{
	pthread_t t[THREADS];
	int r[THREADS];

	(void)state;
	start(script_threads);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, thread, &r[i]), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		assert_int_equal(r[i], 0);
	}
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(order, setup, teardown),
		cmocka_unit_test_setup_teardown(unlike, setup, teardown),
		cmocka_unit_test_setup_teardown(events, setup, teardown),
		cmocka_unit_test_setup_teardown(revoked, setup, teardown),
		cmocka_unit_test_setup_teardown(gone, setup, teardown),
		cmocka_unit_test_setup_teardown(orphan, setup, teardown),
		cmocka_unit_test_setup_teardown(malformed, setup, teardown),
		cmocka_unit_test_setup_teardown(threads, setup, teardown),
		cmocka_unit_test_setup_teardown(mounts, setup,
						teardown), /* the last: it changes namespaces */
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
