/* SPDX-License-Identifier: MIT */
/*
 * abi.h - what the stub is told: the one interface between the code that is
 * injected and everything else.
 *
 * The stub is a flat, position-independent piece of text followed, at the
 * next page, by its data. Both come from one sealed memfd, the control file:
 *
 *   control file             mapped at plan.stub_base
 *   [0, text_size)           read + execute, private
 *   [text_size, +data_size)  read + write, private: struct stub_data, tables,
 *                            thread frames, and at its end the launch area
 *   (not in the file)        the launch context area, anonymous, made by the
 *                            launcher: raw context, argv and environment
 *
 * The launcher maps both, fills struct stub_launch and calls the entry, which does not
 * return. All offsets in the tables count from struct stub_data. The text and
 * data stay mapped in the clone: threads leave from frames in the data, and
 * the exit hooks live in the text.
 */
#ifndef WARM_ENGINE_STUB_ABI_H
#define WARM_ENGINE_STUB_ABI_H

#include <stdint.h>

#include "engine/base/scheduling.h" /* a struct alone */

#define STUB_MAGIC	   0x42545357u /* "WSTB" */
#define STUB_ABI_VERSION   7
#define STUB_VDSO_PARTS	   4 /* vvar, vvar_vclock, vdso, and one to come */
#define STUB_LAUNCH_SIZE   16384 /* launch area: the stub's stack, struct stub_launch at its top */
#define STUB_MAX_PATCHES   8
#define STUB_FDS_IN_LAUNCH (STUB_LAUNCH_SIZE / 64) /* whose numbers find room at the end of its stack */

#define STUB_HOT_RANGES 2048

struct stub_range {
	uint64_t addr, len; /* bytes, whole pages; in the list of hot pages bit 0 of len: only read */
};
#define STUB_HOT_READ 1ull

enum stub_file {
	STUB_FILE_NONE = -1, /* anonymous */
	STUB_FILE_PAGES = 0, /* the pages memfd */
	/* 1 ..: index into stub_launch.files */
};

enum stub_map_flags {
	STUB_MAP_COPY = 1 << 0, /* anonymous, filled from pages at off; len is a multiple of the page */
	STUB_MAP_MLOCK = 1 << 1,
	STUB_MAP_MLOCK_ONFAULT = 1 << 2,
	STUB_MAP_MSEAL = 1 << 3,
	STUB_MAP_PROTECT = 1 << 4, /* mapped writable for the copy, then set to prot */
};

struct stub_map {
	uint64_t addr, len, off;
	uint32_t prot, mmap_flags; /* as for mmap(2), MAP_FIXED is added */
	int32_t file; /* enum stub_file */
	uint32_t flags; /* enum stub_map_flags */
	uint64_t copy_addr, copy_len; /* STUB_MAP_COPY: the part that has contents, at off */
};

struct stub_advice {
	uint64_t addr, len;
	int32_t advice; /* madvise(2) */
	uint32_t ignore_errors;
};

struct stub_vdso_part {
	uint64_t addr, len; /* where the program expects it; len 0: unused */
	int64_t from_vdso; /* its place relative to AT_SYSINFO_EHDR */
};

struct stub_sigaction {
	uint64_t handler, flags, restorer, mask; /* as the kernel's struct sigaction */
	uint32_t signo, reserved;
};

struct stub_pending {
	uint32_t tid_index; /* thread, or UINT32_MAX: the process */
	uint32_t reserved;
	uint8_t info[128]; /* siginfo_t */
};

struct stub_rlimit {
	uint32_t resource, reserved;
	uint64_t soft, hard;
};

struct stub_itimer {
	int32_t which;
	uint32_t reserved;
	uint64_t interval_us, value_us;
};

struct stub_timer {
	int32_t id, clock;
	int32_t notify, signo;
	uint64_t value; /* sigval */
	int32_t thread_index; /* SIGEV_THREAD_ID, else -1 */
	uint32_t overrun;
	uint64_t interval_ns, value_ns;
};

/* the launch context as it is read at the readiness point, in front of thread pairs and strings: docs/adaptor.md */
struct stub_context {
	uint32_t magic, size, argc, envc, nthreads;
	uint32_t stdio; /* bit n: descriptor n is of another kind than in the build; STUB_SAME_* */
	uint64_t generation;
};
#define STUB_CONTEXT_MAGIC    0x58544357u /* "WCTX" */
#define STUB_SAME_ENVIRONMENT (1u << 8) /* byte for byte the build's */
#define STUB_SAME_ARGUMENTS   (1u << 9)
#define STUB_OTHER_SIGNALS    (1u << 10) /* struct stub_context_signals follows the strings */

/* bit n-1: signal n. Behind the context, whose size does not count it, and not aligned */
struct stub_context_signals {
	uint64_t ignored, build_ignored, blocked, build_blocked;
};

/* @stdio: of struct stub_context. Return: what differs from the build: 0 nothing, 1 argv, 2 the environment */
static inline uint32_t stub_learn_kind(uint32_t stdio)
{
	return !(stdio & STUB_SAME_ENVIRONMENT) ? 2 : !(stdio & STUB_SAME_ARGUMENTS);
}

/* how a thread goes on */
enum stub_resume {
	STUB_RESUME_FRAME, /* the frame holds everything */
	STUB_RESUME_CONTEXT, /* in read(2) of the launch context: rax is set at launch */
	STUB_RESUME_MAIN, /* at main(): argc, argv, envp are set at launch */
};

struct stub_thread {
	uint64_t frame; /* offset of struct ucontext, 64-byte aligned xsave behind it */
	uint64_t fs_base, gs_base;
	uint64_t clear_tid; /* set_tid_address(2) */
	uint64_t tid_addr; /* where the libc caches the id; 0: nowhere else than clear_tid */
	uint64_t robust_list, robust_len;
	uint64_t rseq_addr;
	uint32_t rseq_size, rseq_sig;
	uint32_t old_tid;
	uint32_t resume; /* enum stub_resume */
	int32_t sched_policy, sched_priority, nice;
	uint32_t sched_flags; /* bit 0: set policy; bit 1: set nice; bit 2: set affinity */
	uint64_t affinity[16]; /* 1024 cpus */
	char comm[16];
	uint64_t time_left[2]; /* timespec of a timed call that is made again: stub_resume_timed */
};

/* a word in a lock that a thread holds: the thread's id, with FUTEX_WAITERS and FUTEX_OWNER_DIED as they are */
struct stub_owner {
	uint64_t addr;
	uint32_t thread, reserved; /* index */
};

/* a descriptor that the program had made */
enum stub_fd_kind {
	STUB_FD_FILE, /* stub_launch.files[a] with offset b, flags */
	STUB_FD_PIPE, /* both ends: fd and peer; -1 where closed; contents at data; b: size, 0: the default */
	STUB_FD_EVENTFD, /* a: count; b: EFD_SEMAPHORE or 0 */
	STUB_FD_EPOLL, /* targets by struct stub_epoll */
	STUB_FD_SOCKETPAIR, /* a: type; b: as unix_diag.shutdown, of fd; fd, peer; contents at data, peer's at data2 */
	STUB_FD_DUP, /* dup of fd a */
	STUB_FD_TIMERFD, /* a: clock; b: value ns; c: interval ns */
	STUB_FD_SIGNALFD, /* a: mask */
	STUB_FD_PATH, /* open(path at data, flags), offset b */
	STUB_FD_SOCKET, /* neither bound nor connected. a: domain; b: type; c: protocol; struct stub_option at data */
	STUB_FD_TTY, /* a: the descriptor from outside that is the same terminal or pipe; UINT64_MAX: /dev/tty */
};

struct stub_fd {
	int32_t fd, peer; /* peer: the other end's number or -1 */
	uint32_t kind; /* enum stub_fd_kind */
	uint32_t flags; /* O_* status flags of fd */
	uint32_t peer_flags;
	uint32_t cloexec; /* bit 0: fd, bit 1: peer */
	uint64_t a, b, c;
	uint64_t data, data_len; /* offset, bytes */
	uint64_t data2, data2_len;
	int32_t owner_signo,
		peer_owner_signo; /* F_SETOWN to this process, F_SETSIG; -1: SIGIO; 0: no owner */
};

/* setsockopt(2) */
struct stub_option {
	int32_t level, name;
	uint32_t len;
	uint8_t value[20];
};

struct stub_epoll {
	int32_t epfd, fd;
	uint32_t events, reserved;
	uint64_t data;
};

/* random state that each clone has its own of: filled by getrandom(2) */
struct stub_random {
	uint64_t addr, len;
};

/* bytes that a clone has different from the template's memory: see the exit hooks */
struct stub_patch {
	uint64_t addr;
	uint8_t bytes[16], original[16];
	uint32_t len, kind; /* enum stub_hook */
};

/* what a hooked function is */
enum stub_hook {
	STUB_HOOK_RETURN, /* int f(void): returns 0, or -1 when a flush failed */
	STUB_HOOK_EXIT, /* void f(int status): ends in exit(status) */
	STUB_HOOK_FINAL, /* exit(3) itself: once the program is done, only stdio is flushed */
	STUB_HOOK_MADVISE, /* madvise(2) and mremap(2): stay hooked as long as the process lives */
	STUB_HOOK_MREMAP,
	STUB_HOOK_READLINK, /* readlink(2) and readlinkat(2), where /proc/self/exe is not the program: readlink.c */
	STUB_HOOK_READLINKAT,
};

/* the main thread was called away from what it did (warmd/build/builder_boundary.c): how it gets back */
struct stub_leave {
	uint64_t
		restore; /* void restore(void *, void *, void *), of the program: an exception that was being raised */
	uint64_t exception; /* address of its arguments */
	uint64_t release; /* void release(int gil_state), of the program */
	uint64_t frame; /* for rt_sigreturn(2) */
	uint32_t gil_state;
	uint32_t pad;
};

struct stub_exit {
	uint64_t call, arg, value; /* value(call(arg, NULL)) */
	uint64_t libc_exit, libc_fflush; /* exit(3), fflush(3) */
	uint64_t errno_location; /* __errno_location() */
	uint32_t npatches;
	uint32_t done; /* 0: not asked yet; else what value() said, 4: nothing was done */
	uint32_t restored;
	uint32_t
		learn_only; /* the exit hooks serve learning alone: other launches leave those functions as they are */
	struct stub_patch patches[STUB_MAX_PATCHES];
};

enum stub_output_kind {
	STUB_OUTPUT_BYTES, /* were written */
	STUB_OUTPUT_TERMIOS, /* the kernel's struct termios: the terminal's settings from here on */
};

struct stub_output {
	uint64_t data, len; /* offset, bytes */
	int32_t fd;
	uint32_t kind; /* enum stub_output_kind */
};

struct stub_mm {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk;
	uint64_t start_stack;
	uint64_t auxv; /* offset */
	uint64_t auxv_size;
};

struct stub_data {
	uint32_t magic, version;
	uint64_t stub_base, text_size, data_size;
	uint64_t launch; /* offset of the launch area */
	uint64_t page_size;
	uint64_t task_size; /* end of user addresses */

	/* tables: offset from struct stub_data, and count */
	uint64_t maps, advices, threads, sigactions, pendings, itimers, timers, fds, epolls, outputs, randoms,
		rlimits;
	uint32_t nmaps, nadvices, nthreads, nsigactions, npendings, nitimers, ntimers, nfds, nepolls,
		noutputs, nrandoms, nrlimits;

	struct stub_vdso_part vdso[STUB_VDSO_PARTS];
	uint64_t vdso_addr; /* AT_SYSINFO_EHDR that the program expects */
	uint64_t pages_inode; /* of the pages memfd: see madvise.c */
	uint32_t pages_major, pages_minor;
	uint64_t huge_inode; /* the same of the memfd of huge pages; 0: there is none */
	uint32_t huge_major, huge_minor;
	uint64_t staging; /* free addresses for the vDSO on its way */
	uint64_t keep_start, keep_end; /* [text, data, context area) */

	struct stub_mm mm;
	struct stub_exit exit;
	struct stub_leave leave;

	/* pages to be made ahead (struct stub_range): those to be written, in order, then those to be read; filled in by warmd once clones have told */
	uint64_t hot;
	uint32_t nhot, hot_room;

	/* while descriptors are made: int32_t[2 * nfds + 1], where the launch area has no room for it; 0: it has */
	uint64_t fd_room;

	/* uint64_t[ngenerations]: addresses of counters that get the launch's generation (launcher/warm.h: WARM_GENERATION_COUNTER) */
	uint64_t generations;
	uint32_t ngenerations;
	/* uint64_t[npids]: addresses of copies that the program's runtime keeps of its process id, 32 bits each */
	uint32_t npids;
	uint64_t pids;
	uint64_t owners; /* struct stub_owner[nowners] */
	uint64_t nowners;

	/* the launch context read */
	uint64_t context_buf, context_max;
	/* main(): where the program keeps environ etc.; 0: none */
	uint64_t environ_addr[4];
	uint64_t libc_argv_addr, progname_full_addr, progname_short_addr;

	/* the program's argv is argv_prefix (argv_prefix_n strings, one behind the other) and the caller's from argv_drop on */
	/* what the build had: a clone that has the same is told so; both as strings one behind the other */
	uint64_t build_env, build_env_len, build_argv, build_argv_len;
	uint64_t argv_prefix;
	uint32_t argv_prefix_n, argv_drop;
	int32_t context_fd; /* the JSON context is put at this descriptor; -1: raw, into the read's buffer */
	uint32_t context_late; /* the program will write to that descriptor before it reads */
	int32_t exe_file; /* index into files, -1: none */
	uint32_t exe_right; /* set by the stub: /proc/self/exe is the program */
	uint64_t exe_path; /* offset of what /proc/self/exe read at the readiness point */
	int32_t umask; /* -1: the caller's */
	uint64_t oom_score_adj; /* offset of its text, 0: the caller's */
	uint64_t cwd; /* offset of a path, 0: the caller's */
	uint32_t dumpable, no_new_privs, pdeathsig, subreaper, thp_disable, timerslack_set, personality_set,
		personality;
	uint64_t timerslack_ns;
	uint64_t start_ignored,
		start_blocked; /* what the program began with in the build; bit n-1: signal n */
	uint32_t tell_signals; /* an adaptor wants to know in what the caller's are others */
	uint32_t xcomp_perm; /* AMX permission is needed */
	uint32_t mlockall_flags;
	uint32_t old_pid, ready_thread; /* index of the thread whose resume is not FRAME */
};

/* Return: 1: a caller with these signals has others than the build had. Those of glibc's own are nobody's */
static inline int stub_other_signals(const struct stub_data *d, uint64_t ignored, uint64_t blocked)
{
	return ((ignored ^ d->start_ignored) & ~(3ull << 31)) != 0 || blocked != d->start_blocked;
}

#define STUB_MAX_FILES 1024

struct stub_launch {
	int32_t control_fd, pages_fd;
	uint32_t nfiles;
	uint32_t flags; /* enum stub_launch_flags */
	uint64_t files; /* int32_t[nfiles], absolute address inside the kept range */
	uint64_t vdso_now; /* AT_SYSINFO_EHDR of this process, 0: none */
	uint64_t context, context_len; /* raw context in the context area, copied to the read's buffer */
	uint64_t context_tids; /* address of its first (old, new) pair, docs/adaptor.md; 0: none */
	uint64_t argv, envp; /* main(): pointer arrays in the context area */
	uint64_t cold_argv; /* arguments of a launcher that runs the program cold */
	uint64_t arg_start, arg_end, env_start, env_end;
	uint32_t argc;
	int32_t context_fd; /* JSON: to be moved to stub_data.context_fd, -1: none */
	uint32_t drop_caps, pid;
	uint64_t sigmask; /* the caller's, for a cold start */
	int32_t launcher_exe,
		reserved; /* the launcher, while /proc/self/exe is the program already; -1: none */
	/*
	 * A clone that learns sends one datagram there at its exit: these bytes, then uint32_t count, uint32_t stub_learn_kind(),
	 * struct stub_range[count]; the whole's size is put into the uint32_t at learn_size_at.
	 */
	char learn_socket[108];
	uint8_t learn_prefix[32];
	uint32_t learn_prefix_len, learn_size_at;
	/* of a skeleton and its clones */
	int32_t notes_fd; /* fork orders come in, struct stub_note goes out; the launcher's socket to warmd */
	int32_t channel_fd; /* a clone's: its struct stub_order comes in */
	uint64_t fork_id;
	uint64_t area, area_room; /* where a clone makes its context area, and how large it may be */
	uint32_t gate; /* threads of a clone wait until it is 1: futex(2) */
	uint32_t reserved2;
};

enum stub_launch_flags {
	STUB_LAUNCH_EXE = 1 << 0, /* may set /proc/self/exe */
	STUB_LAUNCH_EXIT_HOOKS = 1 << 1,
	STUB_LAUNCH_LEARN = 1 << 2,
	STUB_LAUNCH_SKELETON = 1 << 3, /* do not go on: wait for orders to fork */
	STUB_LAUNCH_FORKED = 1 << 4, /* a skeleton's child */
	STUB_LAUNCH_PARK = 1 << 6, /* ...that nobody waits for */
	STUB_LAUNCH_SECCOMP = 1 << 5, /* a filter is on: only system calls that any libc makes */
	STUB_LAUNCH_HOLD = 1 << 7, /* PARK, and its memory gets a holder: holder.c */
	STUB_LAUNCH_QUIET = 1 << 8, /* without STUB_NOTE_PARKED */
};

/*
 * A skeleton is the template's process with its memory clean: every page comes from the sealed memfd. It only forks.
 *
 *	warmd ──stub_fork──► skeleton ──fork──► clone ──stub_note──► warmd	(one socket)
 *	warmd ──stub_order──────────────────► clone				(the channel, one for each)
 *
 * The clone makes everything that does not depend on its launch, and then
 * reads its order. An order that is there already makes it a fork, one that comes later a
 * parked clone: there is no other difference. End of file on either socket ends the process.
 */

/* to a skeleton, one packet, with descriptors: the clone's channel, then those of flags in the order of their bits */
struct stub_fork {
	uint32_t size, flags; /* enum stub_fork_flags */
	uint64_t id; /* comes back in notes */
};

enum stub_fork_flags {
	STUB_FORK_CONTROL = 1 << 0, /* a control file: its list of pages counts from here on */
	STUB_FORK_CGROUP = 1 << 1, /* a cgroup's directory: clone3(CLONE_INTO_CGROUP) */
	STUB_FORK_PARK = 1 << 2, /* nobody waits for it; no descriptor */
	STUB_FORK_TERMINAL = 1 << 3, /* with a session of its own: a pty's slave and the session's socket */
};

/*
 * A clone with a terminal is forked twice: the first process, the session's leader, stays (session.c). The terminal is its
 * controlling one; the clone leads a group of its own. So that a stop signal stops the clone (a group
 * without a parent in its session counts as orphaned), children that outlive the clone get no SIGHUP, and a program
 * that is no session leader in a shell is none here. The leader ends as the clone ended.
 */
enum stub_session_kind {
	STUB_SESSION_STOPPED, /* leader: the clone was stopped; value: by which signal */
	STUB_SESSION_FOREGROUND, /* to the leader: the clone's group into the foreground, and SIGCONT to it */
	STUB_SESSION_BACKGROUND, /* the same, into the background */
	/*
	 * SIGHUP and SIGCONT to the groups, then the pty is hung up: the master comes with the message. In this order, as
	 * the kernel does it: a shell that finds its terminal gone before it has the signal leaves without a word to its jobs.
	 */
	STUB_SESSION_HANGUP,
	STUB_SESSION_RELEASE, /* the pty will be hung up: the clone gets no SIGHUP for it */
	/*
	 * leader: the clone has ended, and bytes follow that were typed for it and that nobody read; value: 1: they waited as
	 * lines (ICANON), where a NUL stands for an end of file. The leader's own end throws them away, so it sends them before.
	 */
	STUB_SESSION_UNREAD,
	/* leader: that was all; behind it eight bytes: the time when nothing was left (CLOCK_MONOTONIC, ns). Typed later is lost there */
	STUB_SESSION_TAKEN,
};

#define STUB_SESSION_PIECE 512 /* bytes that follow one message at most: the leader's stack is small */

struct stub_session {
	uint32_t kind; /* enum stub_session_kind */
	int32_t value;
};

enum stub_note_kind {
	STUB_NOTE_READY, /* the skeleton takes orders; value: its PID */
	STUB_NOTE_FORKED, /* value: the clone's PID, or a negative errno */
	/* value: the clone's PID; with STUB_FORK_TERMINAL its own, FORKED has its leader's. Not without that and STUB_FORK_PARK */
	STUB_NOTE_PARKED,
	STUB_NOTE_FAILED, /* value: a negative errno; what: the step */
};

struct stub_note {
	uint32_t kind; /* enum stub_note_kind */
	int32_t value;
	uint64_t id;
	char what[48];
};

/*
 * By which a clone ends that gets no order: SIGSTKFLT, which no kernel sends and no program is known to use. `warm run`, told
 * that the clone is its, sees by it that nothing of the program has run (launcher/launch.c).
 */
#define STUB_NO_ORDER_SIGNAL 16

#define STUB_ORDER_MAGIC   0x5244524fu
#define STUB_ORDER_FDS	   253 /* SCM_MAX_FD */
#define STUB_ORDER_STRINGS (128u * 1024) /* at most: WIRE_MAX_SIZE */

enum stub_order_flags {
	STUB_ORDER_CWD = 1 << 0, /* the descriptor behind the targets: fchdir(2) */
	STUB_ORDER_JSON = 1 << 1, /* the next one: the launch context for context_fd */
	STUB_ORDER_LEARN = 1 << 2,
	STUB_ORDER_UMASK = 1 << 3,
	STUB_ORDER_NICE = 1 << 4,
	STUB_ORDER_FOREGROUND =
		1 << 5, /* of its terminal, descriptor terminal_fd; a parked clone is in the background */
	STUB_ORDER_CPUS = 1 << 6, /* what of scheduling and such the caller has other than warmd */
	STUB_ORDER_POLICY = 1 << 7,
	STUB_ORDER_IOPRIO = 1 << 8,
	STUB_ORDER_TIMERSLACK = 1 << 9,
	STUB_ORDER_PERSONALITY = 1 << 10,
};

struct stub_order_limit {
	uint64_t soft, hard;
};

/* a launch: this, then argv and environment strings; descriptor i becomes targets[i] */
struct stub_order {
	uint32_t magic, size; /* size: with the strings */
	uint32_t flags; /* enum stub_order_flags */
	uint32_t argc, envc;
	uint32_t argv_size, env_size; /* bytes, each string ended by NUL */
	uint32_t stdio; /* of the raw context: docs/adaptor.md */
	uint32_t umask;
	int32_t nice;
	uint32_t limits_set; /* bit n: limits[n] */
	uint32_t ntargets;
	uint64_t ignored_signals; /* bit n-1: the caller ignores signal n */
	uint64_t blocked_signals; /* a thread that has the build's mask gets the caller's */
	uint64_t generation;
	struct stub_order_limit limits[16];
	uint16_t targets[STUB_ORDER_FDS + 1];
	int32_t terminal_fd; /* FOREGROUND */
	uint32_t personality;
	struct scheduling scheduling;
};

#endif
