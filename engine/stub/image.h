/* SPDX-License-Identifier: MIT */
/*
 * image.h - what a template's control memory holds: the stub, and tables of all that it makes processes from.
 *
 * The stub is a flat, position-independent piece of text followed, at the
 * next page, by its data. Both come from one sealed memfd, the control file:
 *
 *   control file             mapped at plan.stub_base
 *   [0, text_size)           read + execute, private
 *   [text_size, +data_size)  read + write, private: struct stub_data, one struct stub_process for each process of the
 *                            template, their tables, thread frames, and at its end the launch area
 *   (not in the file)        the launch context area (launch.h)
 *
 * All offsets in the tables count from struct stub_data. The text and data stay mapped in each clone: threads leave from
 * frames in the data, and hooks live in the text. A process writes to its own copy of the data alone.
 *
 * Shared by all processes: files that are mapped, open file descriptions, epolls' entries, output. A process has a table of
 * descriptors that refer to descriptions by index, so that two descriptors with one description (dup(2), or
 * inherited by fork(2)) share its offset and flags in a clone as they did in the template. Today the plan makes templates of one
 * process, and become() takes no other.
 */
#ifndef WARM_ENGINE_STUB_IMAGE_H
#define WARM_ENGINE_STUB_IMAGE_H

#include <stdint.h>

#include "engine/stub/hook_entries.h"

#define STUB_MAGIC	 0x42545357u /* "WSTB" */
#define STUB_ABI_VERSION 8
#define STUB_VDSO_PARTS	 4 /* vvar, vvar_vclock, vdso, and one to come */
#define STUB_FDS_IN_LAUNCH                                                                                   \
	512 /* for speed alone: the numbers of so many descriptions' numbers find room at the low end of the launch area */

#define STUB_HOT_RANGES 2048

struct stub_range {
	uint64_t addr, len; /* bytes, whole pages; in the list of hot pages bit 0 of len: only read */
};
#define STUB_HOT_READ 1ull

enum stub_file {
	STUB_FILE_NONE = -1, /* anonymous */
	STUB_FILE_PAGES = 0, /* the pages memfd */
	/* 1 ..: index into stub_launch.files (launch.h) */
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

enum stub_fd_kind {
#define STUB_FD_KIND(name, word, maker) STUB_FD_##name,
#include "engine/stub/fd_kinds.def"
#undef STUB_FD_KIND
	STUB_FD_KINDS,
};

#define STUB_NONE UINT32_MAX /* instead of an index */

/* an open file description: fd_kinds.def tells what a, b, c and data are */
struct stub_description {
	uint32_t kind; /* enum stub_fd_kind */
	uint32_t flags; /* O_* status flags */
	uint32_t peer; /* index of the other end's description; STUB_NONE: it is closed, or there is none */
	uint32_t owner; /* F_SETOWN: index of the process; counts if owner_signo is not 0 */
	int32_t owner_signo; /* F_SETSIG; -1: SIGIO; 0: no owner */
	int32_t reserved;
	uint64_t a, b, c;
	uint64_t data, data_len; /* offset, bytes */
};

/* an entry of a process's table of descriptors */
struct stub_fd {
	int32_t fd;
	uint32_t description; /* index */
	uint32_t cloexec;
	int32_t same; /* the first descriptor of this table with the same description; -1: it is this one */
	int32_t peer; /* the first one of this table with the description's peer; -1: none */
};

/* setsockopt(2) */
struct stub_option {
	int32_t level, name;
	uint32_t len;
	uint8_t value[20];
};

/* what an epoll watches: the kernel knows a target by its description and the number that it was added with */
struct stub_epoll {
	int32_t epfd, fd; /* numbers in the table of process */
	uint32_t process; /* index */
	uint32_t epoll, target; /* indices of descriptions; target STUB_NONE: what the caller has at fd */
	uint32_t events;
	uint64_t data;
};

/* random state that each clone has its own of: filled by getrandom(2) */
struct stub_random {
	uint64_t addr, len;
};

/* bytes that the stub writes into a process's memory before any of its threads runs */
struct stub_patch {
	uint64_t addr;
	uint64_t data, len; /* offset, bytes */
};

/* a function of the program that begins with a jump into the stub: exit.c, madvise.c, readlink.c */
struct stub_hook {
	uint64_t addr;
	uint8_t bytes[16], original[16];
	uint32_t len, kind; /* bytes of the two above; enum stub_hook_kind */
};

/* what a hooked function is */
enum stub_hook_kind {
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
	uint32_t done; /* 0: not asked yet; else what value() said, 4: nothing was done */
	uint32_t restored;
	uint32_t
		learn_only; /* the exit hooks serve learning alone: other launches leave those functions as they are */
	uint32_t reserved;
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

enum stub_process_state {
	STUB_PROCESS_LIVE,
	STUB_PROCESS_ZOMBIE, /* has ended, and its parent has not waited for it: nothing below exit_status counts */
};

/* one process of the template. Indices count in the table of processes; STUB_NONE: the launch's caller has it */
struct stub_process {
	uint32_t parent, group, session; /* group, session: their leaders */
	uint32_t state; /* enum stub_process_state */
	int32_t exit_status; /* of a zombie, as wait(2) has it */
	uint32_t shared_memory, shared_fds, shared_fs,
		shared_handlers; /* whose it is (clone(2)): itself, or an earlier one */

	/* tables: offset, and count */
	uint32_t nmaps, nadvices, nthreads, nsigactions, npendings, nitimers, ntimers, nfds, nrandoms,
		nrlimits, ngenerations, npids, nowners, npatches, nhooks;
	uint64_t maps, advices, threads, sigactions, pendings, itimers, timers, fds, randoms, rlimits;
	uint64_t
		generations; /* uint64_t: addresses of counters that get the launch's generation (launcher/warm.h: WARM_GENERATION_COUNTER) */
	uint64_t
		pids; /* uint64_t: addresses of copies that the program's runtime keeps of its process id, 32 bits each */
	uint64_t owners, patches, hooks;
	/* pages to be made ahead (struct stub_range): those to be written, in order, then those to be read; filled in by warmd once clones have told */
	uint64_t hot;
	uint32_t nhot, hot_room;
	/* while descriptors are made: int32_t[ndescriptions], where the launch area has no room for it; 0: it has */
	uint64_t fd_room;

	struct stub_vdso_part vdso[STUB_VDSO_PARTS];
	uint64_t vdso_addr; /* AT_SYSINFO_EHDR that the program expects */
	struct stub_mm mm;
	struct stub_exit exit;
	struct stub_leave leave;

	/* the launch context read */
	uint64_t context_buf, context_max;
	/* main(): where the program keeps environ etc.; 0: none */
	uint64_t environ_addr[4];
	uint64_t libc_argv_addr, progname_full_addr, progname_short_addr;
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
	uint32_t xcomp_perm; /* AMX permission is needed */
	uint32_t mlockall_flags;
	uint32_t old_pid, ready_thread; /* index of the thread whose resume is not FRAME */
};

struct stub_data {
	uint32_t magic, version;
	uint32_t head_size,
		process_size; /* of this struct and of struct stub_process: another layout of one version is refused */
	uint64_t stub_base, text_size, data_size;
	uint64_t launch; /* offset of the launch area */
	uint64_t page_size;
	uint64_t task_size; /* end of user addresses */
	uint64_t keep_start, keep_end; /* [text, data, context area) */
	uint64_t staging; /* free addresses for the vDSO on its way */

	/* shared tables: offset, and count */
	uint64_t processes, descriptions, epolls, outputs;
	uint32_t nprocesses, ndescriptions, nepolls, noutputs;
	uint32_t nfiles; /* files that are mapped: the launch brings a descriptor of each (launch.h) */

	uint32_t pages_major, pages_minor;
	uint64_t pages_inode; /* of the pages memfd: see madvise.c */
	uint64_t huge_inode; /* the same of the memfd of huge pages; 0: there is none */
	uint32_t huge_major, huge_minor;

	/* the program's argv is argv_prefix (argv_prefix_n strings, one behind the other) and the caller's from argv_drop on */
	uint64_t argv_prefix;
	uint32_t argv_prefix_n, argv_drop;
	/* what the build had: a clone that has the same is told so; both as strings one behind the other */
	uint64_t build_env, build_env_len, build_argv, build_argv_len;
	uint64_t start_ignored,
		start_blocked; /* what the program began with in the build; bit n-1: signal n */
	uint32_t tell_signals; /* an adaptor wants to know in what the caller's are others */
	uint32_t reserved;
};

/* Return: 1: a caller with these signals has others than the build had. Those of glibc's own are nobody's */
static inline int stub_other_signals(const struct stub_data *d, uint64_t ignored, uint64_t blocked)
{
	return ((ignored ^ d->start_ignored) & ~(3ull << 31)) != 0 || blocked != d->start_blocked;
}

#endif
