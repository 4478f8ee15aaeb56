/* SPDX-License-Identifier: MIT */
/*
 * swap.h - other files behind the descriptors of a stopped process, all or none.
 *
 *	swap_prepare()	the new files are in the process, copies of the old ones too; it cannot tell. What can fail for
 *			lack of something (descriptors, memory, a filter) fails here
 *	swap_apply()	each descriptor has its new file. A failure puts all back
 *	swap_undo()	the old files again
 *	swap_finish()	the copies are closed; after this nothing can be undone
 *
 * An epoll(7) set holds files, not numbers: each entry of a set that has such a descriptor is taken out for the
 * old file and made anew for the new one, or the set would tell of a terminal that its owner does not have.
 */
#ifndef WARM_ENGINE_SWAP_H
#define WARM_ENGINE_SWAP_H

#include "engine/frozen.h"

#define SWAP_MAX 64 /* descriptors; and distinct files */

struct swap_fd {
	int fd; /* in the process */
	bool cloexec; /* as it has it */
	unsigned int file; /* which of files[] */
};

struct swap_watch {
	int epoll, fd;
	uint32_t events;
	uint64_t data;
};

struct swap {
	struct frozen_process *s; /* not owned */
	struct swap_fd fds[SWAP_MAX];
	size_t nfds;
	int files[SWAP_MAX]; /* ours: what is to be put there; the caller's */
	size_t nfiles;

	/* inside */
	int news[SWAP_MAX], olds[SWAP_MAX]; /* in the process, by file; -1: none */
	struct swap_watch watches[SWAP_MAX];
	size_t nwatches;
	size_t applied;
};

/** swap_prepare() - fds[], files[] are filled in. On failure nothing is left behind */
int swap_prepare(struct swap *w, struct error *err);
int swap_apply(struct swap *w, struct error *err);
void swap_undo(struct swap *w);
/** swap_finish() - close copies and the spare new ones; to be called in any case, while the process is stopped */
void swap_finish(struct swap *w);

#endif
