/* SPDX-License-Identifier: MIT */
/*
 * plan.h - from a record to what a launcher needs: the pages memfd, the
 * control memfd (engine/stub/image.h) and the list of files to be mapped.
 *
 * Two steps. plan_layout() is pure: it decides which mapping comes from
 * where, with as few mappings as faithfulness allows. plan_build() copies pages out of
 * the stopped process, writes the tables and seals both memfds.
 */
#ifndef WARM_SNAPSHOT_PLAN_PLAN_H
#define WARM_SNAPSHOT_PLAN_PLAN_H

#include "engine/base/error.h"
#include "snapshot/model/record.h"

/* one mapping to be made: struct stub_map, and what it was */
struct plan_layout {
	struct stub_map *maps;
	size_t nmaps;
	struct stub_advice *advices;
	size_t nadvices;
	uint64_t pages_size; /* bytes of the pages memfd, holes included */
	uint64_t stored; /* bytes of it that are written */
};

/**
 * plan_layout() - decide the mappings of a process
 * @file_index: for each memory object of the record the 1-based index that maps will carry
 * @page: page size in bytes
 * @join_text: read-only data joins the text beside it, and is executable then
 *
 * Rules:
 *  - a written page of a private mapping comes from the pages memfd, an untouched one of a
 *    file from that file; fewer than PLAN_CLEAN_GAP untouched pages between two written ones are
 *    stored too, because two more mappings cost more than their copies;
 *  - with @join_text neighbours of one file, private and untouched, that are r-- and r-x, are one r-x mapping when
 *    their offsets continue: a library's R, RX, R. It is never done to what can be written;
 *  - anonymous memory that was never written is anonymous again where it is PLAN_HOLE_GAP pages or more
 *    long; shorter pieces are holes of the memfd;
 *  - neighbours of equal protection that are stored lie one behind the other in the memfd and are one mapping;
 *  - anonymous memory is followed by a hole in the memfd, because mremap(2) may grow it and must find zeros;
 *  - a stack that grows down, MADV_WIPEONFORK and MAP_DROPPABLE memory and shared anonymous memory
 *    cannot be private file mappings: the first and last are filled by copy, the others start empty.
 */
int plan_layout(const struct record *rec, const struct record_process *p, const int *file_index,
		uint64_t page, bool join_text, struct plan_layout *ret);
void plan_layout_done(struct plan_layout *l);

/**
 * plan_layout_huge() - take out of a layout what can lie in hugetlb pages
 * @p: that @l was made of
 * @huge: bytes of such a page
 * @file: index that their maps get; offsets count in that file
 * @ret_bytes: its size; 0: @l is as it was
 *
 * Of stored memory that can be read alone, not executed: each whole, aligned page of @huge bytes of which three quarters or more
 * are stored. Locked and sealed memory stays, and what has guard pages or is not inherited. The maps are
 * MAP_SHARED, of a file that nobody can write: a private mapping would copy @huge bytes at the first write after an
 * mprotect(2), and kill the program when no such page is free.
 *
 * Return: 0 or -ENOMEM
 */
int plan_layout_huge(const struct record_process *p, uint64_t huge, int file, struct plan_layout *l,
		     uint64_t *ret_bytes);

#define PLAN_CLEAN_GAP 16
#define PLAN_HOLE_GAP  64

/*
 * The main thread was called away from what it did, by a function of its own: when that returns, the stub puts an exception
 * back that was being raised, gives the interpreter's lock back, and the thread goes on as the frame has it
 */
struct plan_leave {
	uint64_t
		slot; /* where that function's return address lies, on the stack; 0: it was not called away */
	uint64_t restore; /* void restore(void *, void *, void *): the exception that was being raised */
	uint64_t exception; /* where its three arguments lie */
	uint64_t release; /* void release(int gil_state) */
	uint32_t gil_state;
	uint64_t frame; /* for rt_sigreturn(2) */
};

struct plan_options {
	struct plan_leave leave;
	uint64_t environ_addr[4];
	uint64_t libc_argv_addr, progname_full_addr, progname_short_addr;
	const struct stub_exit *exit; /* NULL where there are no hooks */
	const struct stub_hook *hooks; /* addr and kind are set, the rest is filled in by plan_build() */
	size_t nhooks;
	char *const *build_env; /* NULL: unknown */
	uint32_t build_envc;
	char *const *build_argv;
	uint32_t build_argc;
	const struct stub_random *randoms;
	size_t nrandoms;
	const struct stub_output *outputs; /* data is an offset into output_bytes */
	size_t noutputs;
	const char *output_bytes;
	size_t output_size;
	bool context_raw; /* raw context into the read's buffer */
	int context_fd; /* else JSON at this descriptor, -1: none */
	bool context_late; /* the program has not asked yet: it will write to the descriptor first */
	char *const *argv_prefix; /* what an argv begins with */
	uint32_t argv_prefix_n, argv_drop; /* argv_drop: how many of the caller's that replaces */
	const char *start_cwd; /* where the program was started; NULL or equal to the record's: not set */
	uint32_t start_umask;
	const uint64_t (*start_rlimits)
		[2]; /* what the program found: only what it changed is set in clones; NULL: nothing */
	int start_nice, start_policy;
	const uint64_t *start_affinity; /* 16 words; NULL: nothing is set */
	const char *oom_score_adj; /* text to be written; NULL: the caller's stays */
	uint32_t start_personality;
	uint64_t start_timerslack_ns; /* 0: nothing is set */
	uint64_t ignored_signals; /* dispositions that a launcher has anyway */
	uint64_t own_signals; /* default or ignored by the program's own doing */
	uint64_t blocked_signals; /* at the program's start */
	bool tell_signals; /* the raw context has the caller's signals where they are others */
	bool join_text; /* for plan_layout() */
	bool hugetlb; /* read-only memory into hugetlb pages, as far as there are free ones */
};

struct plan {
	int control, pages; /* sealed memfds, owned */
	int *files; /* descriptors to be mapped, owned by the record; but for huge, which is the last one if it is there */
	size_t nfiles;
	int huge; /* sealed memfd of hugetlb pages, open for reading alone, owned; -EBADF: none */
	uint64_t huge_bytes; /* of it; among sealed_bytes */
	char huge_note[160]; /* why there is none, where memory would be for it; "" */
	uint64_t stub_base, text_size, data_size, args_base, context_max;
	uint64_t sealed_bytes;
	uint32_t nmaps, nthreads;
};

/**
 * plan_build() - the memfds of a template
 * @rec: its processes[0] is stopped and alive; objects' descriptors are used and stay the record's
 * @ret: the caller frees it with plan_done()
 */
int plan_build(const struct record *rec, const struct plan_options *o, struct plan *ret, struct error *err);
void plan_done(struct plan *plan);

/** plan_memfd() - an executable memfd that can be sealed, close-on-exec. Return: a descriptor, or a negative errno */
int plan_memfd(const char *name, struct error *err);
/** plan_seal() - no writing, growing, shrinking, or other seals from here on. Return: 0 or a negative errno */
int plan_seal(int fd, struct error *err);

/**
 * plan_context_buffer() - where a read-like call that waits for the launch context will put it
 * @nr, @args: the call: read(2), readv(2), recvfrom(2) or recvmsg(2)
 * Return: 0; -EOPNOTSUPP for another call
 */
int plan_context_buffer(pid_t pid, long nr, const uint64_t args[6], uint64_t *ret_addr, uint64_t *ret_size);

#endif
