/* SPDX-License-Identifier: MIT */
/* one handle and many threads, signals, and a warmd that goes away */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/basket.h"
#include "engine/base/fd.h"
#include "engine/base/pidfd.h"
#include "launcher/libwarm.h"
#include "tests/unit/launcher/fake_warmd.h"

static int launch(const char *name, pid_t *ret_pid, int *ret_pidfd)
{
	const struct warm_launch_options o = options(name);

	return warm_launch(w, &o, ret_pid, ret_pidfd);
}

/* a thread that launches a clone and waits for it; assertions are the test's thread's */
struct life {
	pthread_t thread;
	const char *name;
	int launched, waited, status;
	pid_t pid;
	char words[128];
};

static void *live(void *data)
{
	struct life *l = data;

	l->waited = l->status = -1;
	l->launched = launch(l->name, &l->pid, NULL);
	if (l->launched == 0)
		l->waited = warm_wait(w, l->pid, &l->status);
	snprintf(l->words, sizeof(l->words), "%s", warm_error(w));
	return NULL;
}

static void begin(struct life *l, const char *name)
{
	l->name = name;
	assert_int_equal(pthread_create(&l->thread, NULL, live, l), 0);
}

static void end(struct life *l)
{
	assert_int_equal(pthread_join(l->thread, NULL), 0);
}

/* --- order ---------------------------------------------------------------------- */

static void script_crossed(void)
{
	int conn = fake_accept();

	for (int round = 0; round < 100; round++) {
		uint32_t tag[2];
		char name[2];

		for (int i = 0; i < 2; i++) {
			struct asked *a = fake_take(conn);

			tag[i] = a->run.tag;
			name[i] = a->name[0];
		}
		/* the second first; and the first to be launched is the last to end, or not */
		fake_made_up(conn, tag[1], 2001);
		fake_made_up(conn, tag[0], 2000);
		fake_exited(conn, tag[round % 2], 2000 + round % 2, name[round % 2] << 8);
		fake_exited(conn, tag[!(round % 2)], 2000 + !(round % 2), name[!(round % 2)] << 8);
	}
}

static void crossed_order(void **state)
{
	struct life a, b;

	(void)state;
	fake_start(script_crossed);
	assert_int_equal(warm_open(&w, NULL), 0);
	for (int round = 0; round < 100; round++) {
		begin(&a, "a");
		begin(&b, "b");
		end(&a);
		end(&b);
		assert_int_equal(a.launched | b.launched | a.waited | b.waited, 0);
		assert_int_equal(WEXITSTATUS(a.status), 'a');
		assert_int_equal(WEXITSTATUS(b.status), 'b');
		assert_int_not_equal(a.pid, b.pid);
	}
	fake_end();
}

/* the one that reads for all has its answer first, or last */
static void script_relay(void)
{
	int conn = fake_accept();

	for (int round = 0; round < 2; round++) {
		uint32_t tags[4];

		for (int i = 0; i < 4; i++)
			tags[i] = fake_take(conn)->run.tag;
		for (int i = 0; i < 4; i++)
			fake_refuse(conn, tags[round ? i : 3 - i], WIRE_COLD_NONE, i % 2 ? "odd" : "even");
	}
}

static void words_by_thread(void **state)
{
	struct life lives[4];

	(void)state;
	fake_start(script_relay);
	assert_int_equal(warm_open(&w, NULL), 0);
	for (int round = 0; round < 2; round++) {
		int odd = 0;

		for (int i = 0; i < 4; i++)
			begin(&lives[i], "t");
		for (int i = 0; i < 4; i++) {
			end(&lives[i]);
			assert_int_equal(lives[i].launched, -ENOENT);
			odd += strcmp(lives[i].words, "odd") == 0;
		}
		/* each has its own */
		assert_int_equal(odd, 2);
	}
	/* this thread had no failure: those of another */
	assert_true(strcmp(warm_error(w), "odd") == 0 || strcmp(warm_error(w), "even") == 0);
	fake_end();
}

/* --- load, with signals ------------------------------------------------------------- */

#define THREADS	 8
#define LAUNCHES 300 /* each */

/* answers and ends in any order, as far as the threads let it */
static void script_load(void)
{
	struct {
		uint32_t tag;
		int number;
		bool launched;
	} open[THREADS];
	int conn = fake_accept(), n = 0, taken = 0, done = 0;

	srand(1);
	while (done < THREADS * LAUNCHES) {
		struct pollfd p = { .fd = conn, .events = POLLIN };
		int which = n ? rand() % n : 0;

		if (n < THREADS && taken < THREADS * LAUNCHES && poll(&p, 1, n ? 0 : -1) == 1) {
			struct asked *a = fake_take(conn);

			open[n].tag = a->run.tag;
			open[n].number = atoi(a->name);
			open[n++].launched = false;
			taken++;
		} else if (!open[which].launched && open[which].number % 7 == 0) {
			fake_refuse(conn, open[which].tag, WIRE_COLD_BUDGET, "");
			open[which] = open[--n];
			done++;
		} else if (!open[which].launched) {
			/* few different PIDs, none at once */
			fake_made_up(conn, open[which].tag, 3000 + open[which].number / LAUNCHES);
			open[which].launched = true;
		} else {
			fake_exited(conn, open[which].tag, 3000 + open[which].number / LAUNCHES,
				    open[which].number & 0xff);
			open[which] = open[--n];
			done++;
		}
	}
}

static atomic_int wrong, alarms;

static void *many(void *data)
{
	int first = *(int *)data;

	for (int i = first; i < first + LAUNCHES; i++) {
		char name[16];
		int status = -1, pidfd = -1, r;
		pid_t pid = 0;

		snprintf(name, sizeof(name), "%d", i);
		r = launch(name, &pid, i % 2 ? &pidfd : NULL);
		if (i % 7 == 0) {
			wrong += r != -ENOSPC;
			continue;
		}
		wrong += r != 0 || pid != 3000 + i / LAUNCHES || (i % 2 && pidfd < 0);
		wrong += warm_wait(w, pid, &status) != 0 || status != (i & 0xff);
		wrong += warm_wait(w, pid, NULL) != -ECHILD;
		fd_close(pidfd);
	}
	return NULL;
}

static void on_alarm(int sig)
{
	(void)sig;
	alarms++;
}

static void load_with_signals(void **state)
{
	const struct itimerval often = { { 0, 500 }, { 0, 500 } }, never = { { 0, 0 }, { 0, 0 } };
	struct sigaction act = { .sa_handler = on_alarm }; /* no SA_RESTART: calls end with EINTR */
	pthread_t threads[THREADS];
	int firsts[THREADS];

	(void)state;
	wrong = alarms = 0;
	fake_start(script_load);
	assert_int_equal(warm_open(&w, NULL), 0);
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < THREADS; i++) {
		firsts[i] = i * LAUNCHES;
		assert_int_equal(pthread_create(&threads[i], NULL, many, &firsts[i]), 0);
	}
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	setitimer(ITIMER_REAL, &never, NULL);
	signal(SIGALRM, SIG_DFL);
	assert_int_equal(wrong, 0);
	assert_true(alarms > 0);
	fake_end();
}

/* until one signal has interrupted the launch */
static void script_after_signal(void)
{
	int conn = fake_accept();
	uint32_t tag = fake_take(conn)->run.tag;
	char path[64], text[512], number[16];
	bool blocked = false;

	snprintf(path, sizeof(path), "/proc/%d/syscall", getppid());
	snprintf(number, sizeof(number), "%d ", SYS_recvmsg);
	while (!blocked) { /* in recvmsg() */
		FILE *f = fopen(path, "r");

		must(f);
		blocked = fgets(text, sizeof(text), f) && strncmp(text, number, strlen(number)) == 0;
		fclose(f);
	}
	must(kill(getppid(), SIGALRM) == 0);
	fake_refuse(conn, tag, WIRE_COLD_NONE, "");
}

static void interrupted(void **state)
{
	struct sigaction act = { .sa_handler = on_alarm };

	(void)state;
	alarms = 0;
	sigaction(SIGALRM, &act, NULL);
	fake_start(script_after_signal);
	assert_int_equal(warm_open(&w, NULL), 0);
	assert_int_equal(launch("t", NULL, NULL), -ENOENT);
	assert_int_equal(alarms, 1);
	signal(SIGALRM, SIG_DFL);
	fake_end();
}

/* --- time-out ---------------------------------------------------------------------------- */

static int stopped_pipe[2];
static uint64_t script_bytes[WIRE_MAX_SIZE / 8];

static void script_late(void)
{
	int conn = fake_accept(), status;
	uint32_t late = fake_take(conn)->run.tag;
	pid_t clone = fake_clone();

	/* the second comes when the client has given up the first */
	fake_refuse(conn, fake_take(conn)->run.tag, WIRE_COLD_NONE, "");
	fake_launched(conn, late, clone);
	/* it is read by the third, and ends */
	late = fake_take(conn)->run.tag;
	must(waitpid(clone, &status, 0) == clone && WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	fake_exited(conn, late, clone, status);
	fake_made_up(conn, late, 5000);
}

static void given_up(void **state)
{
	struct error err;
	int status;
	pid_t pid;

	(void)state;
	fake_start(script_late);
	assert_int_equal(handle_open(&w, NULL, 100, &err), 0);
	assert_int_equal(launch("t", NULL, NULL), -ETIMEDOUT);
	w->launch_ms = LAUNCH_MS;
	assert_int_equal(launch("t", NULL, NULL), -ENOENT);
	assert_int_equal(launch("t", &pid, NULL), 0);
	assert_int_equal(warm_wait(w, pid, &status), 0);
	assert_int_equal(status, SIGKILL);
	fake_end();
}

/* a warmd that is stopped, and goes on when the client has given up */
static void script_stopped(void)
{
	int conn = fake_accept();
	struct packet p, inner;
	char byte;

	/* the pipe's other end has been closed by then, though nothing was read here */
	close(stopped_pipe[1]);
	must(read(stopped_pipe[0], &byte, 1) == 0);
	must(packet_receive(conn, script_bytes, sizeof(script_bytes), &p, 0) == 0 && p.nfds == 1);
	must(basket_take(p.fds[0], &inner) == -ECANCELED);
	packet_close_fds(&p);
	fake_refuse(conn, fake_take(conn)->run.tag, WIRE_COLD_NONE, "");
}

static void taken_back(void **state)
{
	struct warm_launch_options o = { .size = sizeof(o), .template_name = "t", .fds = { -1, -1, -1 } };
	struct error err;

	(void)state;
	assert_int_equal(pipe(stopped_pipe), 0);
	fake_start(script_stopped);
	close(stopped_pipe[0]);
	assert_int_equal(handle_open(&w, NULL, 100, &err), 0);
	o.fds[1] = stopped_pipe[1];
	assert_int_equal(warm_launch(w, &o, NULL, NULL), -ETIMEDOUT);
	close(stopped_pipe[1]);
	w->launch_ms = LAUNCH_MS;
	assert_null(w->asked);
	assert_int_equal(launch("t", NULL, NULL), -ENOENT);
	fake_end();
}

/* --- warmd goes away ------------------------------------------------------------------- */

static void script_mid_launch(void)
{
	int conn = fake_accept();
	uint32_t tag;

	must(strcmp(fake_take(conn)->name, "first") == 0);
	close(conn);
	conn = fake_accept();
	tag = fake_take(conn)->run.tag;
	must(strcmp(fake_take(conn)->name, "second") == 0);
	fake_refuse(conn, tag, WIRE_COLD_NONE, "");
}

/* it may have been launched: not again. The connection is made anew by the next */
static void lost_mid_launch(void **state)
{
	struct life a, b;

	(void)state;
	fake_start(script_mid_launch);
	assert_int_equal(warm_open(&w, NULL), 0);
	assert_int_equal(launch("first", NULL, NULL), -ECONNRESET);
	assert_non_null(strstr(warm_error(w), "may have"));
	/* two are under way: one gets its answer, the other the end */
	begin(&a, "second");
	begin(&b, "second");
	end(&a);
	end(&b);
	assert_true((a.launched == -ENOENT && b.launched == -ECONNRESET) ||
		    (b.launched == -ENOENT && a.launched == -ECONNRESET));
	fake_end();
}

static void script_unread(void)
{
	int conn = fake_accept();

	fake_await(conn); /* it is there, and not taken */
	close(conn);
	conn = fake_accept();
	fake_refuse(conn, fake_take(conn)->run.tag, WIRE_COLD_NONE, "once");
	must(fake_ended(conn));
}

static void lost_unread(void **state)
{
	(void)state;
	fake_start(script_unread);
	assert_int_equal(warm_open(&w, NULL), 0);
	assert_int_equal(launch("t", NULL, NULL), -ENOENT);
	assert_string_equal(warm_error(w), "once");
	warm_close(w);
	w = NULL;
	fake_end();
}

static void script_idle(void)
{
	int conn = fake_accept();
	uint32_t tag = fake_take(conn)->run.tag;

	fake_made_up(conn, tag, 6000);
	fake_exited(conn, tag, 6000, 3 << 8);
}

static void script_one(void)
{
	int conn = fake_accept();

	fake_refuse(conn, fake_take(conn)->run.tag, WIRE_COLD_NONE, "");
}

/* what it said before it went is not lost */
static void lost_between(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	fake_start(script_idle);
	assert_int_equal(warm_open(&w, NULL), 0);
	assert_int_equal(launch("t", &pid, NULL), 0);
	fake_end();
	fake_start(script_one);
	assert_int_equal(launch("t", NULL, NULL), -ENOENT);
	assert_int_equal(warm_wait(w, pid, &status), 0);
	assert_int_equal(status, 3 << 8);
	fake_end();
}

static void gone_for_good(void **state)
{
	(void)state;
	fake_start(script_one);
	assert_int_equal(warm_open(&w, NULL), 0);
	assert_int_equal(launch("t", NULL, NULL), -ENOENT);
	fake_end();
	unlink(fake_path());
	for (int i = 0; i < 2; i++) {
		assert_int_equal(launch("t", NULL, NULL), -ECONNREFUSED);
		assert_non_null(strstr(warm_error(w), "not running"));
	}
}

static void script_orphans(void)
{
	int conn = fake_accept();

	for (int i = 0; i < 4; i++)
		fake_launched(conn, fake_take(conn)->run.tag, fake_clone());
}

static bool tells_exit_status(void)
{
	int pidfd, status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(5);
	pidfd = pidfd_open_process(pid);
	waitpid(pid, NULL, 0);
	status = pidfd_exit_status(pidfd, &status);
	close(pidfd);
	return status == 0;
}

static void *wait_for(void *data)
{
	struct life *l = data;

	l->waited = warm_wait(w, l->pid, &l->status);
	return NULL;
}

/* clones go on without warmd; this process inherits them, and is who reaps them */
static void orphans(void **state)
{
	struct life a, b, zombie;
	siginfo_t info;
	int pidfd;
	pid_t pid;

	(void)state;
	if (!tells_exit_status())
		skip(); /* before Linux 6.15 */
	prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
	fake_start(script_orphans);
	assert_int_equal(warm_open(&w, NULL), 0);
	assert_int_equal(launch("t", &a.pid, NULL), 0);
	assert_int_equal(launch("t", &b.pid, &pidfd), 0);
	assert_int_equal(launch("t", &zombie.pid, NULL), 0);
	w->fd_budget = 0; /* none is to spare for the last */
	assert_int_equal(launch("t", &pid, NULL), 0);
	fake_end();
	/* one waits already, one comes when it is over, and one when nobody has reaped it */
	assert_int_equal(pthread_create(&a.thread, NULL, wait_for, &a), 0);
	assert_int_equal(kill(a.pid, SIGTERM), 0);
	assert_int_equal(kill(b.pid, SIGUSR1), 0);
	assert_int_equal(kill(zombie.pid, SIGUSR2), 0);
	assert_int_equal(waitpid(a.pid, NULL, 0), a.pid);
	assert_int_equal(waitpid(b.pid, NULL, 0), b.pid);
	assert_int_equal(waitid(P_PID, (id_t)zombie.pid, &info, WEXITED | WNOWAIT), 0);
	end(&a);
	assert_int_equal(a.waited, 0);
	assert_int_equal(a.status, SIGTERM);
	assert_int_equal(warm_wait(w, b.pid, &b.status), 0);
	assert_int_equal(b.status, SIGUSR1);
	assert_int_equal(warm_wait(w, b.pid, &b.status), -ECHILD);
	assert_int_equal(warm_wait(w, zombie.pid, &zombie.status), 0);
	assert_int_equal(zombie.status, SIGUSR2);
	assert_int_equal(waitpid(zombie.pid, NULL, 0), zombie.pid);
	assert_int_equal(warm_wait(w, pid, NULL), -ECONNRESET);
	assert_int_equal(warm_wait(w, pid, NULL), -ECHILD);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	close(pidfd);
	prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(crossed_order), TEST(words_by_thread), TEST(load_with_signals), TEST(interrupted),
		TEST(given_up),	     TEST(taken_back),	    TEST(lost_mid_launch),   TEST(lost_unread),
		TEST(lost_between),  TEST(gone_for_good),   TEST(orphans),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
