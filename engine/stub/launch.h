/* SPDX-License-Identifier: MIT */
/*
 * launch.h - what one launch hands over to the stub: the launch area, and the launch context that the program reads.
 *
 * The launcher maps the control file (image.h), fills struct stub_launch at the top of the launch area, and calls the stub's
 * entry, which does not return. What struct stub_launch points to lies in the launch context area, anonymous
 * memory behind the control file that the launcher makes: raw context, argv and environment, numbers of descriptors.
 */
#ifndef WARM_ENGINE_STUB_LAUNCH_H
#define WARM_ENGINE_STUB_LAUNCH_H

#include <stdint.h>

#define STUB_LAUNCH_SIZE 16384 /* bytes of the launch area: the stub's stack, struct stub_launch at its top */

/* the launch context as it is read at the readiness point, in front of thread pairs and strings: docs/adaptor.md */
struct stub_context {
	uint32_t magic, size, argc, envc, nthreads;
	uint32_t stdio; /* bit n: descriptor n is of another kind than in the build; STUB_SAME_* of order.h */
	uint64_t generation;
};
#define STUB_CONTEXT_MAGIC 0x58544357u /* "WCTX" */

/* bit n-1: signal n. Behind the context, whose size does not count it, and not aligned */
struct stub_context_signals {
	uint64_t ignored, build_ignored, blocked, build_blocked;
};

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
	int32_t context_fd; /* JSON: to be moved to stub_process.context_fd, -1: none */
	uint32_t drop_caps, pid;
	uint64_t sigmask; /* the caller's, for a cold start */
	int32_t launcher_exe; /* the launcher, while /proc/self/exe is the program already; -1: none */
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
	uint32_t process; /* index of the one that this process is in the image's table: image.h */
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

#endif
