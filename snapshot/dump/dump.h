/* SPDX-License-Identifier: MIT */
/*
 * snapshot/ - what a process is. In: a stopped tree (engine/frozen.h). Out: a
 * model of it (model/model.h) and a plan (plan/plan.h): pages in a sealed memfd and
 * the tables by which the stub makes the process again.
 *
 * dump.h: from frozen processes to a model. What cannot be carried is refused: -EOPNOTSUPP and
 * words that name the resource.
 */
#ifndef WARM_SNAPSHOT_DUMP_DUMP_H
#define WARM_SNAPSHOT_DUMP_DUMP_H

#include "engine/frozen.h"
#include "snapshot/model/model.h"

/* for dump_options.resume beside enum model_resume: the call at the readiness point is made again */
#define DUMP_RESUME_AGAIN 100

struct dump_options {
	pid_t ready; /* the thread at the readiness point; 0: none is */
	uint32_t resume; /* enum model_resume of that thread */
	uint64_t
		wrapper; /* with DUMP_RESUME_AGAIN: the function that makes the call, which is called again; 0: the call alone */
	int skip_fd; /* the readiness descriptor, not carried; -1 */
	const bool *outside; /* outside[n]: descriptor n came from the caller and is not carried */
	size_t noutside;
	uint64_t terminal; /* device number of the stand-in for the caller's terminal, 0: none */
	int terminal_fd; /* the first descriptor from outside that is open on it */
	bool resize; /* a handler of SIGWINCH shall look at the terminal of each clone */
};

/**
 * dump_tree() - the model of frozen processes, all threads stopped
 * @ret: all but its entry, which is its maker's to fill. The caller frees it with model_free(). The processes are
 *	unchanged but for dead bytes below their stack pointers.
 * @ret_files: its mapped files, open; the caller ends it with model_files_done()
 */
int dump_tree(const struct frozen_tree *tree, const struct dump_options *o, struct model **ret,
	      struct model_files *ret_files, struct error *err);

/* parts, each in a file of its own */
int dump_memory(const struct frozen_process *frozen, struct model *m, struct model_files *files,
		struct model_process *p, struct error *err);
int dump_threads(struct frozen_process *frozen, const struct dump_options *o, struct model_process *p,
		 struct error *err);
int dump_descriptors(const struct frozen_process *frozen, const struct dump_options *o, struct model *m,
		     struct model_process *p, struct error *err);
int dump_signals(struct frozen_process *frozen, struct model *m, struct model_process *p, struct error *err);
/** dump_resize() - SIGWINCH is pending, if it has a handler, and interrupts the call that its thread is in */
int dump_resize(const struct model *m, struct model_process *p, struct error *err);
/** dump_pids() - where a runtime keeps the process's id. After dump_memory(), as the next two */
int dump_pids(const struct frozen_process *frozen, struct model_space *s, struct error *err);
/** dump_locks() - locks that name the thread that holds them */
int dump_locks(const struct frozen_process *frozen, const struct model_process *p, struct model_space *s,
	       struct error *err);
/** dump_generations() - counters of libraries that want to know in which clone they are */
int dump_generations(const struct frozen_process *frozen, struct model_space *s, struct error *err);

/** dump_object() - a file that is mapped or executed. @o's path and @fd are taken over, also on failure. Return: its index, or -ENOMEM */
int dump_object(struct model *m, struct model_files *files, struct model_object *o, int fd);

/** dump_call() - a system call in the main thread. Return: its result (negative errno as the kernel has it) */
int64_t dump_call(struct frozen_process *frozen, long nr, uint64_t a, uint64_t b, uint64_t c, uint64_t d);
/** dump_scratch() - address of dead bytes below the main thread's stack, for results of calls; 1 KiB */
uint64_t dump_scratch(struct frozen_process *frozen);

#endif
