/* SPDX-License-Identifier: MIT */
/*
 * model.h - what a process tree *is*, as data: no live process, no injected code and no file format in it.
 *
 * The dump makes a model of a frozen tree, the image reader one of a file; the plan makes memfds and tables of it, the image
 * writer a file. Numbers are in the units of the system calls that take them; addresses are the program's.
 *
 * What processes can share (clone(2): CLONE_VM, CLONE_FILES, CLONE_FS, CLONE_SIGHAND) stands in tables of its own, to which a
 * process refers by index; open file descriptions and memory objects are shared by descriptors and mappings in the same way. An
 * index that refers to nothing is MODEL_NONE.
 *
 * Ownership: a model that is built owns each of its arrays, strings and buffers (malloc(3)), but for what its `entry` points to,
 * which belongs to its builder and has to live as long. A model that is decoded lies in one arena (`arena`). Descriptors of
 * mapped files are no part of a model: struct model_files.
 */
#ifndef WARM_SNAPSHOT_MODEL_MODEL_H
#define WARM_SNAPSHOT_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "regs.h"

#define MODEL_NONE	 (-1)
#define MODEL_SIGNALS	 64
#define MODEL_RLIMITS	 16
#define MODEL_VDSO_PARTS 4 /* vvar, vvar_vclock, vdso, and one to come */
#define MODEL_CPU_WORDS	 16 /* 1,024 processors */

/* --- memory ------------------------------------------------------------------------------------------------------ */

/* a file that is mapped, or executed */
struct model_object {
	char *path; /* absolute, as the kernel tells it */
	uint64_t dev, ino; /* which file was there: stat(2) */
	uint64_t size, mtime_ns; /* what it was like */
	uint8_t build_id[32]; /* of an ELF file, its GNU build id */
	uint32_t build_id_len; /* bytes, 0: it has none */
	bool writable; /* mapped shared and writable: to be opened for both */
};

/* addresses [start, end), whole pages */
struct model_run {
	uint64_t start, end;
	/*
	 * Where its bytes lie in the page file (struct page_source). plan_build() sets it when it has laid out a model of live
	 * processes. MODEL_NO_OFFSET: nowhere yet
	 */
	uint64_t offset;
};
#define MODEL_NO_OFFSET UINT64_MAX

/* bytes that lie in a memfd of hugetlb pages, while the page file has a hole where they belong */
struct model_piece {
	uint64_t offset; /* in the page file */
	uint64_t from; /* in the memfd */
	uint64_t length; /* bytes */
};

/* enum vm_flags of engine/proc.h are kernel facts as /proc/PID/smaps tells them ("VmFlags:"), one bit each */
struct model_vma {
	uint64_t start, end, offset; /* offset: in the object's file */
	uint32_t prot; /* PROT_* */
	uint32_t vmflags;
	bool shared; /* MAP_SHARED */
	int object; /* index, MODEL_NONE: anonymous */
	char *name; /* as /proc/PID/maps has it: a path, "[heap]", "" */
	struct model_run *runs; /* pages that hold something else than the file, or than zeros; ascending */
	size_t nruns;
	struct model_run *guards; /* MADV_GUARD_INSTALL; ascending; no offsets */
	size_t nguards;
};

struct model_vdso_part {
	uint64_t addr, len; /* where the program has it; len 0: unused */
	int64_t from_vdso; /* its place relative to AT_SYSINFO_EHDR */
};

/* prctl(2), PR_SET_MM_MAP */
struct model_mm {
	uint64_t start_code, end_code, start_data, end_data, start_brk, brk, start_stack;
};

/* a word of a lock that a thread holds: the thread's id, with FUTEX_WAITERS and FUTEX_OWNER_DIED as they are */
struct model_owner {
	uint64_t addr;
	uint32_t thread; /* index among the threads of the process */
};

/* an address space */
struct model_space {
	struct model_vma *vmas; /* ascending */
	size_t nvmas;
	struct model_mm mm;
	void *auxv; /* /proc/PID/auxv */
	size_t auxv_len; /* bytes */
	struct model_vdso_part vdso[MODEL_VDSO_PARTS];
	uint64_t vdso_addr; /* AT_SYSINFO_EHDR that the program expects; 0: it has no vDSO */
	int exe_object; /* index: /proc/PID/exe */
	uint64_t *pids; /* addresses of copies that a runtime keeps of its process id, 32 bits each */
	size_t npids;
	struct model_owner *owners;
	size_t nowners;
	uint64_t *generations; /* addresses of counters of 64 bits that get the clone's generation */
	size_t ngenerations;
};

/* --- descriptors ------------------------------------------------------------------------------------------------- */

enum model_fd_kind {
#define STUB_FD_KIND(name, word, maker) MODEL_FD_##name,
#include "engine/stub/fd_kinds.def"
#undef STUB_FD_KIND
	MODEL_FD_KINDS,
};

/** model_fd_word() - the kind's word for people. Return: "?" for none */
const char *model_fd_word(unsigned int kind);

/* setsockopt(2) */
struct model_option {
	int32_t level, name;
	uint32_t len; /* bytes of value */
	uint8_t value[20];
};

#define MODEL_DEV_TTY (-1) /* model_description.outside.of: the process's controlling terminal */

/* an open file description */
struct model_description {
	enum model_fd_kind kind;
	uint32_t flags; /* O_* status flags: F_GETFL */
	int owner; /* F_SETOWN: index of the process; counts if owner_signo is not 0 */
	int32_t owner_signo; /* F_SETSIG; -1: SIGIO; 0: it has no owner */
	int peer; /* PIPE, SOCKETPAIR: index of the other end's description; MODEL_NONE: it is closed */
	void *data; /* PIPE, SOCKETPAIR: queued bytes that this end will read */
	size_t data_len;
	union {
		struct {
			uint32_t room; /* F_GETPIPE_SZ in bytes; 0: the default */
			uint64_t inode; /* by which the ends find each other; of the time of the dump */
		} pipe;
		struct {
			uint32_t type; /* SOCK_STREAM */
			uint32_t shutdown; /* bit 0: for reading; bit 1: for writing */
			uint64_t inode, peer_inode; /* of the time of the dump */
		} pair;
		struct { /* SOCKET: neither bound nor connected */
			uint32_t domain, type, protocol;
			struct model_option *options; /* what setsockopt(2) changed; owned */
			size_t noptions;
		} socket;
		struct {
			uint64_t count; /* less than 2^32 */
			bool semaphore; /* EFD_SEMAPHORE */
		} eventfd;
		struct {
			uint32_t clock; /* CLOCK_* */
			uint64_t value_ns, interval_ns; /* value_ns: until it expires; 0: disarmed */
		} timerfd;
		struct {
			uint64_t mask; /* bit n-1: signal n */
		} signalfd;
		struct { /* PATH: what can be opened again by its name */
			char *path; /* owned */
			uint64_t offset; /* lseek(2) */
			uint64_t dev, ino; /* which file was there */
		} path;
		struct { /* TTY, CALLER */
			int32_t of; /* the caller's descriptor that is the same terminal, pipe or description; TTY: MODEL_DEV_TTY */
			char *path; /* as the kernel tells it; owned; NULL: CALLER */
		} outside;
	};
};

struct model_fd {
	int32_t fd; /* number */
	int description; /* index */
	bool cloexec;
};

struct model_fd_table {
	struct model_fd *fds; /* ascending numbers */
	size_t nfds;
};

/* what an epoll watches: the kernel knows a target by its description and the number that it was added with */
struct model_epoll {
	int description; /* of the epoll */
	int fd_table; /* index: whose number fd is */
	int32_t fd;
	int target; /* index of a description; MODEL_NONE: what the launch has at fd */
	uint32_t events;
	uint64_t data;
};

/* --- what else can be shared --------------------------------------------------------------------------------------- */

struct model_fs {
	char *cwd; /* absolute */
	char *root; /* absolute; NULL: "/", that of whoever launches it */
	uint32_t umask;
};

struct model_sigaction { /* the kernel's struct sigaction; handler 0: SIG_DFL, 1: SIG_IGN */
	uint64_t handler, flags, restorer, mask;
};

struct model_handlers {
	struct model_sigaction actions[MODEL_SIGNALS]; /* index signo - 1; of SIGKILL and SIGSTOP zeros */
};

/* --- processes ------------------------------------------------------------------------------------------------------ */

/* where a thread goes on in a clone */
enum model_resume {
	MODEL_RESUME_FRAME, /* where its registers say */
	MODEL_RESUME_CONTEXT, /* it is in a read of the launch context, which returns that */
	MODEL_RESUME_MAIN, /* it is at main(): argc, argv, envp are the launch's */
	MODEL_RESUMES,
};

struct model_thread {
	pid_t tid;
	arch_regs regs; /* opaque but to engine/arch */
	void *xstate; /* XSAVE area, as far as it is in use; opaque likewise */
	size_t xstate_len; /* bytes */
	uint64_t sigmask, altstack[3]; /* altstack: ss_sp, ss_flags, ss_size of sigaltstack(2) */
	uint64_t clear_tid; /* set_tid_address(2) */
	uint64_t tid_addr; /* where the C library caches the id; 0: nowhere */
	uint64_t robust_list, robust_len;
	uint64_t rseq_addr;
	uint32_t rseq_size, rseq_sig;
	enum model_resume resume;
	uint32_t restart; /* enum arch_restart: what becomes of the call that it is in */
	uint64_t timeout_ns; /* left of a timed call's time */
	int32_t timeout_arg; /* which argument tells the time, -1: none */
	bool timeout_ms; /* as milliseconds in the register, else a timespec behind a pointer */
	int32_t sched_policy, sched_priority, nice;
	uint64_t affinity[MODEL_CPU_WORDS];
	char comm[16];
};

struct model_pending {
	int thread; /* index; MODEL_NONE: the process */
	uint8_t info[128]; /* siginfo_t */
};

struct model_itimer {
	int32_t which; /* ITIMER_* */
	uint64_t interval_us, value_us;
};

struct model_timer { /* timer_create(2) */
	int32_t id, clock, notify, signo;
	uint64_t value; /* sigval */
	int thread; /* SIGEV_THREAD_ID: index; else MODEL_NONE */
	uint32_t overrun;
	uint64_t interval_ns, value_ns;
};

enum model_state { MODEL_ALIVE, MODEL_STOPPED, MODEL_ZOMBIE, MODEL_STATES };

struct model_process {
	pid_t pid;
	int parent; /* index; MODEL_NONE: whoever launches it */
	int group, session; /* index of the leader; MODEL_NONE: the launch's */
	enum model_state state;
	int32_t exit_status; /* of a zombie, as wait(2) has it */
	int space, fd_table, fs, handlers; /* indices; of a zombie MODEL_NONE */
	struct model_thread *threads; /* the main thread first */
	size_t nthreads;
	struct model_pending *pendings;
	size_t npendings;
	struct model_itimer itimers[3];
	size_t nitimers;
	struct model_timer *timers;
	size_t ntimers;
	uint32_t dumpable, no_new_privs, pdeathsig, subreaper, thp_disable, personality;
	uint64_t timerslack_ns;
	uint64_t rlimits[MODEL_RLIMITS][2]; /* by resource: soft, hard */
	uint64_t uid[4], gid[4]; /* real, effective, saved, filesystem */
	uint64_t cap_effective, cap_permitted, cap_inheritable, cap_ambient, seccomp;
	bool amx; /* it has the permission to use AMX: arch_prctl(2) */
	bool resized; /* has a SIGWINCH pending that the dump put there */
};

/* --- how a clone comes in ------------------------------------------------------------------------------------------- */

/*
 * The main thread was called away from what it did, by a function of its own: when that returns, the stub puts an exception
 * back that was being raised, gives the interpreter's lock back, and the thread goes on as the frame has it
 */
struct model_leave {
	uint64_t
		slot; /* where that function's return address lies, on the stack; 0: it was not called away */
	uint64_t restore; /* void restore(void *, void *, void *): the exception that was being raised */
	uint64_t exception; /* where its three arguments lie */
	uint64_t release; /* void release(int gil_state) */
	uint32_t gil_state;
	uint64_t frame; /* for rt_sigreturn(2) */
};

enum model_hook_kind {
	MODEL_HOOK_RETURN, /* int f(void): returns 0, or -1 when a flush failed */
	MODEL_HOOK_EXIT, /* void f(int status): ends in exit(status) */
	MODEL_HOOK_FINAL, /* exit(3) itself */
	MODEL_HOOK_MADVISE,
	MODEL_HOOK_MREMAP,
	MODEL_HOOK_READLINK,
	MODEL_HOOK_READLINKAT,
	MODEL_HOOKS,
};

/* a function of the program that clones have begin with a jump into the stub */
struct model_hook {
	uint64_t addr;
	enum model_hook_kind kind;
	uint32_t len; /* bytes that the jump takes: arch_jump_patch() */
	uint8_t original[16];
};

struct model_exit {
	uint64_t call, arg, value; /* value(call(arg, NULL)): is all done that the language promises? */
	uint64_t libc_exit, libc_fflush; /* exit(3), fflush(3) */
	uint64_t errno_location; /* __errno_location() */
	bool learn_only; /* the exit hooks serve learning alone */
};

struct model_range {
	uint64_t addr, len; /* bytes */
};

struct model_output {
	uint64_t at, len; /* in output_bytes */
	int32_t fd;
	bool termios; /* the kernel's struct termios: the terminal's settings from here on; else bytes that were written */
};

/* of the tree's root. What is compared with the caller's: only what the program changed itself is set in clones */
struct model_entry {
	struct model_leave leave;
	uint64_t environ_addr[4]; /* where the program keeps environ; 0: none */
	uint64_t libc_argv_addr, progname_full_addr, progname_short_addr;
	bool has_exit; /* exit and the exit hooks count */
	struct model_exit exit;
	struct model_hook *hooks;
	size_t nhooks;
	char **build_env; /* NULL: unknown */
	uint32_t build_envc;
	char **build_argv;
	uint32_t build_argc;
	struct model_range *randoms; /* memory that each clone has random bytes of its own in */
	size_t nrandoms;
	struct model_output *outputs; /* what the program printed before its readiness point */
	size_t noutputs;
	char *output_bytes;
	size_t output_size;
	bool context_raw; /* the launch context goes raw into the read's buffer */
	uint64_t context_buf, context_max; /* that buffer: address, bytes */
	int32_t context_fd; /* else it is JSON at this descriptor; -1: none */
	bool context_late; /* the program has not asked yet: it will write to the descriptor first */
	char **argv_prefix; /* what a clone's argv begins with */
	uint32_t argv_prefix_n, argv_drop; /* argv_drop: how many of the caller's that replaces */
	const char *start_cwd; /* where the program was started; NULL or equal to its own: not set */
	uint32_t start_umask;
	bool has_start_rlimits; /* false: none is set */
	uint64_t start_rlimits[MODEL_RLIMITS][2];
	int32_t start_nice, start_policy;
	bool has_start_affinity; /* false: it is not set */
	uint64_t start_affinity[MODEL_CPU_WORDS];
	char *oom_score_adj; /* text to be written; NULL: the caller's stays */
	uint32_t start_personality;
	uint64_t start_timerslack_ns; /* 0: nothing is set */
	uint64_t ignored_signals; /* dispositions that a launcher has anyway; bit n-1: signal n */
	uint64_t own_signals; /* default or ignored by the program's own doing */
	uint64_t blocked_signals; /* at the program's start */
	bool tell_signals; /* the raw context has the caller's signals where they are others */
};

/* --- the model -------------------------------------------------------------------------------------------------------- */

struct model {
	struct model_object *objects;
	size_t nobjects;
	struct model_space *spaces;
	size_t nspaces;
	struct model_description *descriptions;
	size_t ndescriptions;
	struct model_fd_table *fd_tables;
	size_t nfd_tables;
	struct model_epoll *epolls;
	size_t nepolls;
	struct model_fs *filesystems;
	size_t nfilesystems;
	struct model_handlers *handlers;
	size_t nhandlers;
	struct model_process *processes; /* a parent before its children */
	size_t nprocesses;
	struct model_entry entry;
	void *arena; /* NULL: it was built */
	void (*free_arena)(void *arena);
};

/* files that are mapped: descriptors beside a model, by the index of its objects; owned, -EBADF: not open */
struct model_files {
	int *fds;
	size_t n;
};

/**
 * model_new() - an empty model of @nprocesses processes, each with a space, a table of descriptors, a filesystem context and
 * handlers of its own
 * Return: NULL when there is no memory
 */
struct model *model_new(size_t nprocesses);
void model_free(struct model *m);
static inline void model_freep(struct model **m)
{
	model_free(*m);
}

/** model_add_object() - index of the object, found or added (then its path is the model's); negative errno */
int model_add_object(struct model *m, const struct model_object *o);

/**
 * model_check() - is it a model that dump_tree() could have made, as far as a plan and the stub rely on it?
 *
 * For a model that was read from a file, where any byte may be hostile: all indices refer to something, mappings ascend and do not
 * overlap, runs lie within theirs, whole pages of @page bytes; a parent comes before its children; counts fit the tables.
 *
 * Return: 0; -EBADMSG with *err set, which names what is wrong
 */
int model_check(const struct model *m, uint64_t page, struct error *err);

void model_files_done(struct model_files *files);

#endif
