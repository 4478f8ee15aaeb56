/* SPDX-License-Identifier: MIT */
/* live_pages.h - the pages of frozen processes, for a plan */
#ifndef WARM_SNAPSHOT_DUMP_LIVE_PAGES_H
#define WARM_SNAPSHOT_DUMP_LIVE_PAGES_H

#include "engine/frozen.h"
#include "snapshot/plan/plan.h"

struct live_pages {
	struct page_source source; /* first: what the plan is given */
	const struct frozen_tree *tree;
	int *mem; /* /proc/PID/mem of each process, owned */
};

/**
 * live_pages_open() - pages as they are in memory
 * @tree: what was dumped; it stays the caller's, and frozen, until live_pages_close()
 * Return: 0 or a negative errno with *err set
 */
int live_pages_open(struct live_pages *ret, const struct frozen_tree *tree, struct error *err);
void live_pages_close(struct live_pages *live);

#endif
