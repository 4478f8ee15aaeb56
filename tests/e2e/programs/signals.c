/* SPDX-License-Identifier: MIT */
/* signals.c - handlers, pending signals and timers set up before the readiness point */
#include "program.h"

#include <pthread.h>
#include <signal.h>
#include <sys/time.h>
#include <sys/wait.h>

static volatile sig_atomic_t seen[65], on_stack, last_value, last_code, last_pid_own;
static char stack[65536];

static void handler(int sig, siginfo_t *info, void *context)
{
	char here;

	(void)context;
	seen[sig]++;
	on_stack = &here >= stack && &here < stack + sizeof(stack);
	last_value = info->si_value.sival_int;
	last_code = info->si_code;
	last_pid_own = info->si_pid == getpid();
}

static void handle(int sig, int flags, int also_blocked)
{
	struct sigaction sa = { .sa_sigaction = handler, .sa_flags = SA_SIGINFO | flags };

	sigemptyset(&sa.sa_mask);
	if (also_blocked)
		sigaddset(&sa.sa_mask, also_blocked);
	sigaction(sig, &sa, NULL);
}

static void case_handlers(void)
{
	stack_t ss = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction sa;

	sigaltstack(&ss, NULL);
	handle(SIGUSR1, SA_ONSTACK, SIGUSR2);
	handle(SIGUSR2, SA_RESTART, 0);
	handle(SIGRTMIN + 2, SA_RESETHAND | SA_NODEFER, 0);
	signal(SIGHUP, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	ready();
	raise(SIGUSR1);
	printf("USR1 %d on its stack %d\n", seen[SIGUSR1], on_stack);
	raise(SIGUSR2);
	printf("USR2 %d on its stack %d\n", seen[SIGUSR2], on_stack);
	raise(SIGRTMIN + 2);
	sigaction(SIGRTMIN + 2, NULL, &sa);
	printf("RTMIN+2 %d reset %d\n", seen[SIGRTMIN + 2], sa.sa_handler == SIG_DFL);
	raise(SIGHUP);
	sigaction(SIGUSR1, NULL, &sa);
	printf("flags %x mask has USR2 %d\n", sa.sa_flags & ~0x04000000, sigismember(&sa.sa_mask, SIGUSR2));
	sigaction(SIGCHLD, NULL, &sa);
	printf("CHLD ignored %d\n", sa.sa_handler == SIG_IGN);
	if (fork() == 0)
		_exit(0);
	printf("no zombie: %d %d\n", (int)wait(NULL), errno == ECHILD);
}

/* what the caller ignores or blocks; the test starts this under nohup, trap '' and the like */
static void case_inherited(void)
{
	struct sigaction sa;
	sigset_t mask;

	ready();
	sigprocmask(SIG_SETMASK, NULL, &mask);
	for (int s = 1; s < 65; s++) {
		if (s == 32 || s == 33 || sigaction(s, NULL, &sa) < 0)
			continue;
		if (sa.sa_handler != SIG_DFL || sigismember(&mask, s) == 1)
			printf("%d%s%s\n", s, sa.sa_handler == SIG_IGN ? " ignored" : "",
			       sigismember(&mask, s) == 1 ? " blocked" : "");
	}
	printf("end\n");
}

/* the program ignores and handles what its caller may have set otherwise */
static void case_own(void)
{
	signal(SIGINT, SIG_DFL);
	signal(SIGTERM, SIG_IGN);
	case_inherited();
}

/* as system(3) does: what was found counts, and was the caller's */
static void case_restored(void)
{
	void (*found)(int) = signal(SIGINT, SIG_IGN);

	signal(SIGINT, found);
	case_inherited();
}

static pthread_barrier_t barrier;
static sigset_t thread_pending;
static int thread_values[8], nthread_values;

static void *pending_thread(void *arg)
{
	struct timespec none = { 0, 0 };
	siginfo_t info;
	sigset_t set;

	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	sigpending(&thread_pending);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 4);
	while (sigtimedwait(&set, &info, &none) > 0)
		thread_values[nthread_values++] = info.si_value.sival_int;
	return arg;
}

static void case_pending(void)
{
	struct timespec none = { 0, 0 };
	siginfo_t info;
	sigset_t set;
	pthread_t t;
	int r;

	sigfillset(&set);
	sigdelset(&set, SIGINT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	pthread_barrier_init(&barrier, NULL, 2);
	pthread_create(&t, NULL, pending_thread, NULL);
	pthread_barrier_wait(&barrier);
	kill(getpid(), SIGUSR1);
	kill(getpid(), SIGUSR1); /* one of the two is enough: they do not queue */
	for (int i = 0; i < 5; i++)
		sigqueue(getpid(), SIGRTMIN + 3, (union sigval){ .sival_int = 100 + i });
	raise(SIGWINCH);
	pthread_kill(t, SIGUSR2);
	for (int i = 0; i < 3; i++)
		pthread_sigqueue(t, SIGRTMIN + 4, (union sigval){ .sival_int = 200 + i });
	ready();
	sigpending(&set);
	for (int s = 1; s < 65; s++)
		if (sigismember(&set, s) == 1)
			printf("pending in main: %d\n", s);
	sigfillset(&set);
	while ((r = sigtimedwait(&set, &info, &none)) > 0)
		printf("signal %d code %d value %d from this process %d\n", r, info.si_code,
		       r >= SIGRTMIN ? info.si_value.sival_int : 0, info.si_pid == getpid());
	pthread_barrier_wait(&barrier);
	pthread_join(t, NULL);
	for (int s = 1; s < 65; s++)
		if (sigismember(&thread_pending, s) == 1)
			printf("pending in the thread: %d\n", s);
	for (int i = 0; i < nthread_values; i++)
		printf("value %d\n", thread_values[i]);
}

/* a handler runs as soon as the program unblocks, and in the thread that it was sent to */
static void case_pending_handled(void)
{
	sigset_t set;

	handle(SIGUSR1, 0, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigprocmask(SIG_BLOCK, &set, NULL);
	sigqueue(getpid(), SIGUSR1, (union sigval){ .sival_int = 77 });
	ready();
	printf("blocked: %d\n", seen[SIGUSR1]);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	printf("unblocked: %d value %d code %d own %d\n", seen[SIGUSR1], last_value, last_code, last_pid_own);
}

static int ms_of(const struct timeval *tv)
{
	return (int)(tv->tv_sec * 1000 + tv->tv_usec / 1000);
}

static void case_itimers(void)
{
	struct itimerval v = { { 10, 0 }, { 5, 0 } }, now;
	sigset_t set, wait;
	int sig;

	setitimer(ITIMER_VIRTUAL, &v, NULL);
	v.it_value.tv_sec = 100;
	setitimer(ITIMER_PROF, &v, NULL);
	sigemptyset(&set);
	sigaddset(&set, SIGALRM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	v = (struct itimerval){ { 0, 50000 }, { 0, 600000 } };
	setitimer(ITIMER_REAL, &v, NULL);
	ready();
	getitimer(ITIMER_VIRTUAL, &now);
	printf("virtual %d interval %d\n", ms_of(&now.it_value) > 4000 && ms_of(&now.it_value) <= 5010,
	       ms_of(&now.it_interval));
	getitimer(ITIMER_PROF, &now);
	printf("prof %d\n", ms_of(&now.it_value) > 90000);
	getitimer(ITIMER_REAL, &now);
	printf("real %d interval %d\n", ms_of(&now.it_value) > 200 && ms_of(&now.it_value) <= 600,
	       ms_of(&now.it_interval));
	sigemptyset(&wait);
	sigaddset(&wait, SIGALRM);
	sigwait(&wait, &sig);
	printf("%d\n", sig == SIGALRM);
	sigwait(&wait, &sig);
	printf("and again %d\n", sig == SIGALRM);
}

static void case_timers(void)
{
	timer_t ids[4];
	struct sigevent ev = { .sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1 };
	struct itimerspec v = { { 0, 0 }, { 0, 300000000 } }, now;
	sigset_t set;
	siginfo_t info;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	sigaddset(&set, SIGRTMIN + 2);
	sigprocmask(SIG_BLOCK, &set, NULL);
	ev.sigev_value.sival_int = 11;
	MUST(timer_create(CLOCK_MONOTONIC, &ev, &ids[0]));
	MUST(timer_create(CLOCK_MONOTONIC, &ev, &ids[1]));
	ev.sigev_value.sival_int = 22;
	MUST(timer_create(CLOCK_REALTIME, &ev, &ids[2]));
	ev.sigev_notify = SIGEV_NONE;
	MUST(timer_create(CLOCK_MONOTONIC, &ev, &ids[3]));
	timer_delete(ids[1]); /* so that ids have a gap */
	MUST(timer_settime(ids[0], 0, &v, NULL));
	v.it_value.tv_sec = 50;
	v.it_interval.tv_sec = 3;
	MUST(timer_settime(ids[2], 0, &v, NULL));
	MUST(timer_settime(ids[3], 0, &v, NULL));
	ready();
	timer_gettime(ids[2], &now);
	printf("long one: %d interval %ld\n", now.it_value.tv_sec >= 45 && now.it_value.tv_sec <= 50,
	       (long)now.it_interval.tv_sec);
	timer_gettime(ids[3], &now);
	printf("silent one: %d\n", now.it_value.tv_sec >= 45 && now.it_value.tv_sec <= 50);
	sigwaitinfo(&set, &info);
	printf("signal %d code %d value %d\n", info.si_signo - SIGRTMIN, info.si_code,
	       info.si_value.sival_int);
	v = (struct itimerspec){ { 0, 0 }, { 0, 1000000 } };
	MUST(timer_settime(ids[2], 0, &v, NULL));
	sigwaitinfo(&set, &info);
	printf("signal %d code %d value %d\n", info.si_signo - SIGRTMIN, info.si_code,
	       info.si_value.sival_int);
	printf("delete %d %d %d, of a deleted one %d\n", timer_delete(ids[0]), timer_delete(ids[2]),
	       timer_delete(ids[3]), timer_gettime(ids[0], &now));
	MUST(timer_create(CLOCK_MONOTONIC, &ev, &ids[1]));
	printf("new one works\n");
}

/* glibc makes a thread for these: refused by name, or it works */
static volatile int notified;

static void notify(union sigval v)
{
	notified = v.sival_int;
}

static void case_timer_thread(void)
{
	struct sigevent ev = { .sigev_notify = SIGEV_THREAD,
			       .sigev_notify_function = notify,
			       .sigev_value.sival_int = 5 };
	struct itimerspec v = { { 0, 0 }, { 0, 1000000 } };
	timer_t id;

	MUST(timer_create(CLOCK_MONOTONIC, &ev, &id));
	ready();
	MUST(timer_settime(id, 0, &v, NULL));
	while (!notified)
		sched_yield();
	printf("notified %d\n", notified);
}

static pid_t waiting_tid;

static void *suspended(void *arg)
{
	sigset_t set;

	sigfillset(&set);
	sigdelset(&set, SIGUSR1);
	__atomic_store_n(&waiting_tid, gettid(), __ATOMIC_RELEASE);
	if (arg)
		pause();
	else
		sigsuspend(&set);
	sigemptyset(&set);
	pthread_sigmask(SIG_SETMASK, NULL, &set);
	return (void *)(intptr_t)(seen[SIGUSR1] * 10 + sigismember(&set, SIGUSR1) * 2 +
				  sigismember(&set, SIGUSR2));
}

/* pause() and sigsuspend() end only by a handler; the mask of before comes back */
static void case_suspended(void)
{
	for (int i = 0; i < 2; i++) {
		sigset_t set, old;
		pthread_t t;
		void *ret;

		waiting_tid = 0;
		handle(SIGUSR1, 0, 0);
		sigemptyset(&set);
		if (!i)
			sigaddset(&set, SIGUSR1);
		pthread_sigmask(SIG_BLOCK, &set, &old);
		pthread_create(&t, NULL, suspended, i ? &set : NULL);
		pthread_sigmask(SIG_SETMASK, &old, NULL);
		while (!__atomic_load_n(&waiting_tid, __ATOMIC_ACQUIRE))
			sched_yield();
		wait_asleep(waiting_tid);
		if (!i)
			ready();
		pthread_kill(t, SIGUSR1);
		pthread_join(t, &ret);
		printf("%s: %ld\n", i ? "pause" : "sigsuspend", (long)(intptr_t)ret);
	}
}

/* the test sends a signal once this has stopped */
static void case_stopped(void)
{
	ready();
	raise(SIGSTOP);
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "handlers", case_handlers },
		{ "inherited", case_inherited },
		{ "own", case_own },
		{ "restored", case_restored },
		{ "pending", case_pending },
		{ "pending_handled", case_pending_handled },
		{ "itimers", case_itimers },
		{ "timers", case_timers },
		{ "timer_thread", case_timer_thread },
		{ "suspended", case_suspended },
		{ "stopped", case_stopped },
	};

	return RUN_CASE(cases);
}
