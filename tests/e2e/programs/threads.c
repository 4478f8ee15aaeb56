/* SPDX-License-Identifier: MIT */
/* threads.c - threads in all kinds of waits, and what belongs to each of them */
#include "program.h"

#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/wait.h>

#define THREADS	 64
#define SHORT_NS 400000000ull

static struct timespec in(clockid_t clock, uint64_t ns)
{
	uint64_t at = now_ns(clock) + ns;

	return (struct timespec){ (time_t)(at / 1000000000u), (long)(at % 1000000000u) };
}

static const struct timespec short_time = { 0, SHORT_NS };

/* --- 64 threads, each in a wait of one of 16 kinds --- */

static struct waiter {
	pthread_t thread;
	pid_t tid;
	int kind, index;
	long result;
	sem_t sem;
	uint32_t word;
	int pipe[2], epoll;
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	int flag;
} waiters[THREADS];

static const char *const kinds[] = {
	"sem_wait",
	"sem_timedwait",
	"futex relative",
	"futex",
	"nanosleep",
	"clock_nanosleep relative",
	"clock_nanosleep absolute",
	"poll timeout",
	"poll",
	"epoll_wait timeout",
	"epoll_wait",
	"pipe read",
	"sigwait",
	"cond_wait",
	"select timeout",
	"ppoll timeout",
};
#define KINDS 16

static long wait_somehow(struct waiter *w)
{
	struct timespec ts = short_time;
	struct timeval tv = { 0, SHORT_NS / 1000 };
	struct pollfd pfd = { .fd = w->pipe[0], .events = POLLIN };
	struct epoll_event ev;
	sigset_t set;
	fd_set fds;
	char byte;
	int sig;

	switch (w->kind) {
	case 0:
		return sem_wait(&w->sem);
	case 1:
		ts = in(CLOCK_REALTIME, SHORT_NS);
		return sem_timedwait(&w->sem, &ts) < 0 ? errno : 0;
	case 2:
		return syscall(SYS_futex, &w->word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0) < 0 ? errno : 0;
	case 3:
		return syscall(SYS_futex, &w->word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0) < 0 ? errno : 0;
	case 4:
		return nanosleep(&ts, NULL) < 0 ? errno : 0;
	case 5:
		return clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
	case 6:
		ts = in(CLOCK_MONOTONIC, SHORT_NS);
		return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	case 7:
		return poll(&pfd, 1, SHORT_NS / 1000000);
	case 8:
		return poll(&pfd, 1, -1) * 10 + pfd.revents;
	case 9:
		return epoll_wait(w->epoll, &ev, 1, SHORT_NS / 1000000);
	case 10:
		return epoll_wait(w->epoll, &ev, 1, -1) * 100 + (int)(ev.data.u32 - (uint32_t)w->index);
	case 11:
		return read(w->pipe[0], &byte, 1) * 1000 + byte;
	case 12:
		sigemptyset(&set);
		sigaddset(&set, SIGRTMIN + 1);
		return sigwait(&set, &sig) * 1000 + sig - SIGRTMIN;
	case 13:
		pthread_mutex_lock(&w->mutex);
		while (!w->flag)
			pthread_cond_wait(&w->cond, &w->mutex);
		pthread_mutex_unlock(&w->mutex);
		return w->flag;
	case 14:
		FD_ZERO(&fds);
		FD_SET(w->pipe[0], &fds);
		return select(w->pipe[0] + 1, &fds, NULL, NULL, &tv);
	default:
		return ppoll(&pfd, 1, &ts, NULL);
	}
}

static void *waiter(void *arg)
{
	struct waiter *w = arg;

	__atomic_store_n(&w->tid, gettid(), __ATOMIC_RELEASE);
	w->result = wait_somehow(w);
	return w;
}

static void wake(struct waiter *w)
{
	switch (w->kind) {
	case 0:
		sem_post(&w->sem);
		break;
	case 3:
		/* the word changes first: a wait that is made again must not begin anew */
		__atomic_store_n(&w->word, 1, __ATOMIC_SEQ_CST);
		syscall(SYS_futex, &w->word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		w->result = 0;
		break;
	case 8:
	case 10:
	case 11:
		MUST(write(w->pipe[1], "x", 1));
		break;
	case 12:
		pthread_kill(w->thread, SIGRTMIN + 1);
		break;
	case 13:
		pthread_mutex_lock(&w->mutex);
		w->flag = 7;
		pthread_cond_signal(&w->cond);
		pthread_mutex_unlock(&w->mutex);
		break;
	}
}

static void case_waits(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN + 1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < THREADS; i++) {
		struct waiter *w = &waiters[i];
		struct epoll_event ev = { .events = EPOLLIN, .data.u32 = (uint32_t)i };

		w->kind = i % KINDS;
		w->index = i;
		sem_init(&w->sem, 0, 0);
		pthread_mutex_init(&w->mutex, NULL);
		pthread_cond_init(&w->cond, NULL);
		MUST(pipe(w->pipe));
		w->epoll = MUST(epoll_create1(0));
		MUST(epoll_ctl(w->epoll, EPOLL_CTL_ADD, w->pipe[0], &ev));
		if (pthread_create(&w->thread, NULL, waiter, w))
			die("pthread_create");
	}
	for (int i = 0; i < THREADS; i++) {
		while (!__atomic_load_n(&waiters[i].tid, __ATOMIC_ACQUIRE))
			sched_yield();
		wait_asleep(waiters[i].tid);
	}
	ready();
	for (int i = 0; i < THREADS; i++)
		wake(&waiters[i]);
	for (int i = 0; i < THREADS; i++) {
		void *ret;

		pthread_join(waiters[i].thread, &ret);
		/* a futex that changed before it was waited for again says EAGAIN: as good as being woken */
		if (waiters[i].kind == 3 && waiters[i].result == EAGAIN)
			waiters[i].result = 0;
		printf("%d %s: %ld %s\n", i, kinds[waiters[i].kind], waiters[i].result,
		       ret == &waiters[i] ? "joined" : "lost");
	}
}

/* --- what is left of a sleep at the checkpoint is what the clone sleeps --- */

static uint64_t woken_at[6];
static pid_t sleeper_tid[6];

static void *sleeper(void *arg)
{
	int kind = (int)(intptr_t)arg, ends[2];
	struct timespec ts = { 1, 0 };
	struct pollfd pfd = { .events = POLLIN };
	uint32_t word = 0;

	MUST(pipe(ends));
	pfd.fd = ends[0];
	__atomic_store_n(&sleeper_tid[kind], gettid(), __ATOMIC_RELEASE);
	switch (kind) {
	case 0:
		nanosleep(&ts, NULL);
		break;
	case 1:
		clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, NULL);
		break;
	case 2:
		poll(&pfd, 1, 1000);
		break;
	case 3:
		epoll_wait(MUST(epoll_create1(0)), &(struct epoll_event){ 0 }, 1, 1000);
		break;
	case 4:
		syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0);
		break;
	default:
		ppoll(&pfd, 1, &ts, NULL);
	}
	woken_at[kind] = now_ns(CLOCK_MONOTONIC);
	return NULL;
}

static void case_remaining(void)
{
	static const char *const names[] = { "nanosleep",  "clock_nanosleep", "poll",
					     "epoll_wait", "futex",	      "ppoll" };
	struct timespec ts = in(CLOCK_MONOTONIC, 600000000);
	pthread_t t[6];
	uint64_t from;

	for (int i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, sleeper, (void *)(intptr_t)i);
	for (int i = 0; i < 6; i++) {
		while (!__atomic_load_n(&sleeper_tid[i], __ATOMIC_ACQUIRE))
			sched_yield();
		wait_asleep(sleeper_tid[i]);
	}
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	ready();
	from = now_ns(CLOCK_MONOTONIC);
	for (int i = 0; i < 6; i++) {
		int64_t ms;

		pthread_join(t[i], NULL);
		ms = (int64_t)(woken_at[i] - from) / 1000000;
		printf("%s: %s\n", names[i],
		       ms < 150	  ? "too early"
		       : ms > 650 ? "too late"
				  : "with the rest of its time");
	}
}

/* --- names, masks, alternate stacks, thread-local variables, nice --- */

static __thread int local_number = -1;
static __thread char local_text[32] = "initial";
static pthread_key_t key;
static pthread_barrier_t before, after;
static char reports[8][256];
static char stacks[8][32768];

static void describe(int i)
{
	stack_t ss;
	char name[16];
	sigset_t mask;
	int n = 0;

	sigaltstack(NULL, &ss);
	pthread_getname_np(pthread_self(), name, sizeof(name));
	pthread_sigmask(SIG_SETMASK, NULL, &mask);
	for (int s = 1; s < 64; s++)
		n = n * 3 % 100003 + sigismember(&mask, s);
	snprintf(reports[i], sizeof(reports[i]),
		 "%d %s local %d %s key %s mask %d altstack %s %zu %d nice %d slack %ld", i, name,
		 local_number, local_text, (char *)pthread_getspecific(key), n,
		 ss.ss_sp == stacks[i] ? "own" : "other", ss.ss_size, ss.ss_flags,
		 getpriority(PRIO_PROCESS, (id_t)gettid()), (long)prctl(PR_GET_TIMERSLACK));
}

static void *own_things(void *arg)
{
	int i = (int)(intptr_t)arg;
	stack_t ss = { .ss_sp = stacks[i], .ss_size = sizeof(stacks[i]) };
	char name[16];
	sigset_t set;

	snprintf(name, sizeof(name), "thread (%d) x", i);
	pthread_setname_np(pthread_self(), name);
	local_number = i * 11;
	snprintf(local_text, sizeof(local_text), "text%d", i);
	pthread_setspecific(key, strdup(local_text));
	sigemptyset(&set);
	sigaddset(&set, i + 1);
	sigaddset(&set, SIGRTMIN + i);
	pthread_sigmask(SIG_SETMASK, &set, NULL);
	MUST(sigaltstack(&ss, NULL));
	MUST(setpriority(PRIO_PROCESS, (id_t)gettid(), i));
	pthread_barrier_wait(&before);
	pthread_barrier_wait(&after);
	describe(i);
	return NULL;
}

static void case_attributes(void)
{
	pthread_t t[8];

	pthread_key_create(&key, NULL);
	pthread_barrier_init(&before, NULL, 9);
	pthread_barrier_init(&after, NULL, 9);
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, own_things, (void *)(intptr_t)i);
	pthread_barrier_wait(&before);
	local_number = 4242;
	ready();
	pthread_barrier_wait(&after);
	for (int i = 0; i < 8; i++) {
		pthread_join(t[i], NULL);
		puts(reports[i]);
	}
	printf("main local %d %s\n", local_number, local_text);
}

/* --- thread ids that the C library keeps --- */

static volatile sig_atomic_t got_signal;
static volatile pid_t signal_tid;

static void note_signal(int sig)
{
	signal_tid = (pid_t)syscall(SYS_gettid);
	got_signal = sig;
}

static int hold[2];
static pid_t peer_tid, peer_after;

static void *peer(void *arg)
{
	char byte;

	(void)arg;
	__atomic_store_n(&peer_tid, gettid(), __ATOMIC_RELEASE);
	while (read(hold[0], &byte, 1) < 0 && errno == EINTR)
		;
	peer_after = (pid_t)syscall(SYS_gettid);
	return (void *)99;
}

static void *cancelled(void *arg)
{
	char byte;

	__atomic_store_n((pid_t *)arg, gettid(), __ATOMIC_RELEASE);
	if (read(hold[0], &byte, 1) < 0)
		return NULL;
	return NULL;
}

static void try_mutex(const char *what, int type)
{
	pthread_mutexattr_t attr;
	pthread_mutex_t m;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, type);
	pthread_mutex_init(&m, &attr);
	printf("%s mutex: lock %d", what, pthread_mutex_lock(&m));
	printf(" again %d", pthread_mutex_trylock(&m));
	printf(" unlock %d", pthread_mutex_unlock(&m));
	if (type == PTHREAD_MUTEX_RECURSIVE)
		printf(" %d", pthread_mutex_unlock(&m));
	printf(" once more %d\n", pthread_mutex_unlock(&m));
}

static void case_ids(void)
{
	struct sigaction sa = { .sa_handler = note_signal };
	pthread_t t, c;
	pid_t ctid = 0, pid;
	clockid_t clock;
	struct timespec ts;
	void *ret;
	int status;

	sigaction(SIGUSR1, &sa, NULL);
	MUST(pipe(hold));
	pthread_create(&t, NULL, peer, NULL);
	pthread_create(&c, NULL, cancelled, &ctid);
	while (!__atomic_load_n(&peer_tid, __ATOMIC_ACQUIRE) || !__atomic_load_n(&ctid, __ATOMIC_ACQUIRE))
		sched_yield();
	wait_asleep(peer_tid);
	wait_asleep(ctid);
	ready();
	SAY("getpid is the main thread's id", getpid() == gettid() && getpid() == (pid_t)syscall(SYS_getpid));
	try_mutex("recursive", PTHREAD_MUTEX_RECURSIVE);
	try_mutex("errorcheck", PTHREAD_MUTEX_ERRORCHECK);
	raise(SIGUSR1);
	SAY("raise comes to this thread", got_signal == SIGUSR1 && signal_tid == getpid());
	got_signal = 0;
	printf("pthread_kill: %d\n", pthread_kill(t, SIGUSR1));
	while (!got_signal)
		sched_yield();
	SAY("another thread got it", signal_tid != getpid());
	printf("pthread_getcpuclockid: %d ", pthread_getcpuclockid(t, &clock));
	printf("%d\n", clock_gettime(clock, &ts));
	printf("pthread_cancel: %d\n", pthread_cancel(c));
	pthread_join(c, &ret);
	SAY("cancelled", ret == PTHREAD_CANCELED);
	MUST(write(hold[1], "x", 1));
	pthread_join(t, &ret);
	SAY("joined with its value", ret == (void *)99);
	SAY("signal was in that thread", signal_tid == peer_after);
	pid = fork();
	if (pid == 0)
		_exit(getpid() == gettid() && raise(SIGUSR1) == 0 && signal_tid == getpid() ? 3 : 4);
	waitpid(pid, &status, 0);
	printf("child: %d\n", WEXITSTATUS(status));
}

static pthread_mutex_t robust;
static int robust_go[2];

static void *robust_owner(void *arg)
{
	char byte;

	MUST(read(robust_go[0], &byte, 1));
	pthread_mutex_lock(&robust);
	return arg; /* dies with the mutex locked */
}

static void case_robust(void)
{
	pthread_mutexattr_t attr;
	pthread_t t;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&robust, &attr);
	MUST(pipe(robust_go));
	pthread_create(&t, NULL, robust_owner, NULL);
	ready();
	MUST(write(robust_go[1], "x", 1));
	pthread_join(t, NULL);
	SAY("EOWNERDEAD", pthread_mutex_lock(&robust) == EOWNERDEAD);
	printf("consistent %d unlock %d\n", pthread_mutex_consistent(&robust), pthread_mutex_unlock(&robust));
}

/* locks of kinds that know their owner, held over the readiness point */
static void case_held(void)
{
	static const int types[] = { PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE,
				     PTHREAD_MUTEX_ERRORCHECK };
	pthread_rwlock_t written = PTHREAD_RWLOCK_INITIALIZER;
	pthread_mutex_t m[5];

	for (int i = 0; i < 5; i++) {
		pthread_mutexattr_t attr;

		pthread_mutexattr_init(&attr);
		if (i < 3)
			pthread_mutexattr_settype(&attr, types[i]);
		if (i == 3)
			pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
		if (i == 4)
			pthread_mutexattr_setprotocol(&attr, PTHREAD_PRIO_INHERIT);
		pthread_mutex_init(&m[i], &attr);
		pthread_mutex_lock(&m[i]);
	}
	flockfile(stdout);
	pthread_rwlock_wrlock(&written);
	ready();
	printf("written again %d\n", pthread_rwlock_wrlock(&written));
	printf("unlock %d\n", pthread_rwlock_unlock(&written));
	printf("read %d\n", pthread_rwlock_tryrdlock(&written));
	printf("stdout is locked by this thread\n");
	funlockfile(stdout);
	for (int i = 0; i < 5; i++) {
		printf("kind %d: again %d", i, pthread_mutex_trylock(&m[i]));
		printf(" unlock %d\n", pthread_mutex_unlock(&m[i]));
	}
}

static int rseq_go[2];
static int rseq_fine[4];

static int cpu_is_right(void)
{
	unsigned int cpu, node;
	cpu_set_t all, one;
	int fine = 1;

	sched_getaffinity(0, sizeof(all), &all);
	for (int i = 0; i < CPU_SETSIZE; i++) {
		if (!CPU_ISSET(i, &all))
			continue;
		CPU_ZERO(&one);
		CPU_SET(i, &one);
		sched_setaffinity(0, sizeof(one), &one);
		syscall(SYS_getcpu, &cpu, &node, NULL);
		fine &= (int)cpu == i && sched_getcpu() == i;
#if __GLIBC__ > 2 || __GLIBC_MINOR__ >= 35
		{
			extern const ptrdiff_t __rseq_offset;
			extern const unsigned int __rseq_size;
			const uint32_t *rseq = (const uint32_t *)((char *)__builtin_thread_pointer() +
								  __rseq_offset);

			fine &= !__rseq_size || ((int)rseq[0] == i && (int)rseq[1] == i);
		}
#endif
	}
	sched_setaffinity(0, sizeof(all), &all);
	return fine;
}

static void *rseq_thread(void *arg)
{
	char byte;

	MUST(read(rseq_go[0], &byte, 1));
	rseq_fine[(intptr_t)arg] = cpu_is_right();
	return NULL;
}

static void case_rseq(void)
{
	pthread_t t[4];

	MUST(pipe(rseq_go));
	for (intptr_t i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, rseq_thread, (void *)i);
	ready();
	MUST(write(rseq_go[1], "abcd", 4));
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], NULL);
		SAY("CPU number in a thread", rseq_fine[i]);
	}
	SAY("CPU number in main", cpu_is_right());
}

/* threads that make threads, compute and call at the moment of the checkpoint */

static volatile int stop;
static volatile uint64_t made, sums[2];

static void *nothing(void *arg)
{
	return arg;
}

static void *maker(void *arg)
{
	while (!stop) {
		pthread_t t;
		void *ret;
		int r = pthread_create(&t, NULL, nothing, (void *)&made);

		if (r) {
			printf("pthread_create: %s\n", strerror(r));
			break;
		}
		pthread_join(t, &ret);
		if (ret != &made)
			printf("a thread returned something else\n");
		made++;
	}
	return arg;
}

static void *computer(void *arg)
{
	volatile uint64_t *sum = arg;
	double x = 1;

	while (!stop) {
		for (int i = 0; i < 1000; i++)
			x = x * 1.0000001 + 1e-9;
		*sum += 1;
		if (x != x || getpid() <= 0 || syscall(SYS_gettid) <= 0)
			printf("a register or result is wrong\n");
		if (x > 1e100)
			x = 1;
	}
	return arg;
}

static void case_busy(void)
{
	pthread_t t[6];
	uint64_t had;

	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, maker, NULL);
	for (int i = 4; i < 6; i++)
		pthread_create(&t[i], NULL, computer, (void *)&sums[i - 4]);
	while (made < 50 || sums[0] < 10 || sums[1] < 10)
		sched_yield();
	ready();
	had = made;
	while (made < had + 50)
		sched_yield();
	stop = 1;
	for (int i = 0; i < 6; i++)
		pthread_join(t[i], NULL);
	printf("all went on\n");
}

/* the thread at the readiness point need not be the main one */
static void *ready_elsewhere(void *arg)
{
	local_number = 77;
	ready();
	printf("in a thread, local %d, main %s\n", local_number, getpid() == gettid() ? "same" : "other");
	return arg;
}

static void case_elsewhere(void)
{
	pthread_t t;

	pthread_create(&t, NULL, ready_elsewhere, NULL);
	pthread_join(t, NULL);
	printf("joined\n");
}

int main(int argc, char **argv)
{
	static const struct test_case cases[] = {
		{ "waits", case_waits }, { "remaining", case_remaining }, { "attributes", case_attributes },
		{ "ids", case_ids },	 { "robust", case_robust },	  { "held", case_held },
		{ "rseq", case_rseq },	 { "busy", case_busy },		  { "elsewhere", case_elsewhere },
	};

	return RUN_CASE(cases);
}
