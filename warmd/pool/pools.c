/* SPDX-License-Identifier: MIT */
/* pools.c - all pools of a warmd: what they have in common, once a second, and their beginning and end */
#include "warmd/pool/pools.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/personality.h>
#include <sys/resource.h>

#include "engine/base/fd.h"
#include "warmd/connection/oom_score.h"
#include "warmd/pool/hot.h"
#include "warmd/pool/lease.h"
#include "warmd/pool/memory.h"
#include "warmd/pool/pool.h"
#include "warmd/pool/terminal.h"

static void on_leaving(void *data, struct template *t)
{
	(void)data;
	pool_free(t->pool);
	hot_free(t->hot);
	t->hot = NULL;
}

static void on_unseen(void *data, struct template *t)
{
	if (t->pool)
		lease_revoke(data, t->pool);
}

void pools_init(struct pools *all)
{
	const struct store_listener listener = { .leaving = on_leaving, .unseen = on_unseen, .data = all };

	store_listen(all->store, &listener);
	pools_own_context(&all->own);
	/* 0, which is what a process has if nobody set it, where it cannot be read */
	if (oom_score_read(getpid(), &all->own_oom_score_adj) < 0)
		all->own_oom_score_adj = 0;
}

void pools_tick(struct pools *all)
{
	bool any = false;

	for (const struct template *t = all->store->list; t; t = t->next)
		any |= t->pool != NULL;
	all->short_of_memory = any && memory_is_short(&memory_of_system, all->config->memory_reserve);
	for (struct template *t = all->store->list; t; t = t->next)
		if (t->pool)
			pool_tick(t->pool, all->short_of_memory);
	clone_reap_unknown(all);
}

void pools_done(struct pools *all)
{
	/* the pools' clones, which their ends would have freed */
	clone_forget_all(all);
	while (all->terminals)
		terminal_free(all->terminals);
}

void pools_own_context(struct wire_run *own)
{
	_cleanup_free_ char *status = NULL;
	int code = personality(0xffffffff);

	for (int i = 0; i < WIRE_RLIMITS; i++) {
		/* getrlimit(2) fails for limits that the kernel does not have, which are 0 for every process then */
		struct rlimit r = { 0, 0 };

		getrlimit((__rlimit_resource_t)i, &r);
		own->rlimits[i][0] = r.rlim_cur;
		own->rlimits[i][1] = r.rlim_max;
	}
	own->nice = getpriority(PRIO_PROCESS, 0);
	scheduling_get(&own->scheduling);
	own->personality = code > 0 ? (uint32_t)code : 0;
	if (read_file("/proc/self/status", &status, NULL) == 0) {
		const char *line = strstr(status, "\nCapEff:");

		own->capabilities = line ? strtoull(line + 8, NULL, 16) : 0;
	}
}
