/* SPDX-License-Identifier: MIT */
/*
 * record.h - what a process tree is, in plain C: the result of a dump.
 *
 * Memory objects (files, shared memory), open file descriptions and processes
 * are kept apart and refer to each other by index, because processes share them.
 * Pages are not in the record: they go from the live process to the pages memfd
 * (plan.h) while it is stopped.
 */
#ifndef WARM_SNAPSHOT_MODEL_RECORD_H
#define WARM_SNAPSHOT_MODEL_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "engine/stub/image.h"
#include "regs.h"

struct record_object {
	char *path;
	uint64_t dev, ino;
	int fd; /* open on it, owned by the record; -EBADF */
	bool writable; /* the descriptor is open for writing (shared writable mappings) */
};

struct record_run { /* pages whose contents differ from the file, or from zero */
	uint64_t start, end;
};

struct record_vma {
	uint64_t start, end, offset;
	uint32_t prot, vmflags;
	bool shared;
	int object; /* index of a memory object, -1: anonymous */
	char *name; /* as /proc/PID/maps has it */
	struct record_run *runs;
	size_t nruns;
	struct record_run *guards; /* MADV_GUARD_INSTALL regions */
	size_t nguards;
};

struct record_thread {
	pid_t tid;
	arch_regs regs;
	void *xstate;
	size_t xstate_len;
	uint64_t sigmask, altstack[3];
	uint64_t clear_tid, tid_addr, robust_list, robust_len;
	uint64_t rseq_addr;
	uint32_t rseq_size, rseq_sig;
	uint32_t resume; /* enum stub_resume */
	enum arch_restart restart; /* what becomes of the call that it is in */
	uint64_t timeout_ns; /* left of a timed call's time */
	int timeout_arg; /* which argument tells the time, -1: none */
	bool timeout_ms; /* as milliseconds in the register, else a timespec behind a pointer */
	int sched_policy, sched_priority, nice;
	uint64_t affinity[16];
	char comm[16];
};

struct record_description {
	uint32_t kind; /* enum stub_fd_kind */
	uint32_t flags; /* O_* status flags */
	uint64_t offset;
	char *path; /* for people; also what STUB_FD_PATH opens */
	int peer; /* description of the other end, -1 */
	uint64_t a, b, c;
	void *data; /* queued bytes that this end will read */
	size_t data_len;
	uint64_t id; /* inode: of the pipe or socket, to find the other end; of STUB_FD_PATH's file */
	uint64_t peer_id; /* STUB_FD_SOCKETPAIR: inode of the other end */
	uint64_t dev; /* STUB_FD_PATH */
	int owner_signo; /* as in struct stub_fd */
};

struct record_epoll_target {
	int description; /* of the epoll */
	int fd; /* number that was added */
	uint32_t events;
	uint64_t data;
};

struct record_fd {
	int fd;
	int description;
	bool cloexec;
};

struct record_process {
	pid_t pid;
	struct record_vma *vmas;
	size_t nvmas;
	struct record_thread *threads; /* the main thread first */
	size_t nthreads;
	struct record_fd *fds;
	size_t nfds;
	struct stub_sigaction sigactions[64]; /* index signo - 1 */
	struct stub_pending *pendings;
	size_t npendings;
	struct stub_itimer itimers[3];
	size_t nitimers;
	struct stub_timer *timers;
	size_t ntimers;
	struct stub_vdso_part vdso[STUB_VDSO_PARTS];
	uint64_t vdso_addr;
	struct stub_mm mm;
	void *auxv;
	size_t auxv_len;
	int exe_object;
	char *cwd;
	uint32_t umask;
	uint32_t dumpable, no_new_privs, pdeathsig, subreaper, thp_disable, personality;
	uint64_t timerslack_ns;
	uint64_t rlimits[16][2]; /* soft, hard */
	uint64_t uid[4], gid[4], cap_effective, cap_permitted, cap_inheritable, cap_ambient, seccomp;
	bool amx;
	bool resized; /* has a SIGWINCH pending that the dump put there */
};

struct record {
	struct record_object *objects;
	size_t nobjects;
	struct record_description *descriptions;
	size_t ndescriptions;
	struct record_epoll_target *epolls;
	size_t nepolls;
	struct record_process *processes;
	size_t nprocesses;
};

struct record *record_new(size_t nprocesses);
void record_free(struct record *rec);

/** record_add_object() - index of the object, found or added; negative errno */
int record_add_object(struct record *rec, const struct record_object *o);

#endif
