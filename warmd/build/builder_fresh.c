/* SPDX-License-Identifier: MIT */
/*
 * builder_fresh.c - random state that runtimes in C drew from the system, made fresh for each clone.
 *
 * Where a library can be told to forget, it is told so in the build, once, and in each clone it asks the system again. Else
 * the memory is noted, and the stub fills it (struct stub_random). A generator that the program seeded itself keeps its state.
 */
#include "warmd/build/builder_internal.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/fd.h"
#include "engine/elf.h"
#include "engine/proc.h"

/* SQLITE_TESTCTRL_PRNG_RESTORE of sqlite3.h: with nothing saved it clears the generator, which seeds itself at its next use. Unlike
 * sqlite3_randomness(0, NULL) it neither takes a lock nor initialises the library */
#define SQLITE_PRNG_RESTORE 6

static int forget_sqlite(struct builder *b, struct error *err)
{
	struct elf_query q = { .name = "sqlite3_test_control" };

	if (elf_lookup(trace_root(b->trace), &q, 1) < 0 || !q.addr || !b->ready)
		return 0;
	return trace_call(b->trace, b->ready, BUILDER_SLOT_SEED, q.addr, SQLITE_PRNG_RESTORE, 0, err);
}

/* a copy of the writable memory that belongs to the executable's file, and what lies right behind it (bss) */
struct copy {
	uint64_t start, len;
	uint32_t *words;
};

static int copy_data(pid_t pid, uint64_t within, struct copy *ret)
{
	struct proc_maps maps;
	int r = proc_read_maps(pid, false, &maps);

	if (r < 0)
		return r;
	for (size_t i = 0; i < maps.n; i++) {
		const struct proc_map *m = &maps.v[i];

		if (!(m->prot & PROT_WRITE) || m->shared || (!m->ino && (!ret->len || m->path[0])))
			continue;
		if (ret->len && ret->start + ret->len == m->start)
			ret->len += m->end - m->start;
		else if (!ret->len && m->end > within && m->ino)
			ret->start = m->start, ret->len = m->end - m->start;
	}
	proc_maps_done(&maps);
	ret->words = ret->len && ret->len < 64 << 20 ? malloc(ret->len) : NULL;
	return ret->words ? trace_read(pid, ret->start, ret->words, ret->len) : -ENOMEM;
}

/*
 * bash's $RANDOM: the state is a variable without a symbol. What sbrand(), which has one, writes its argument to is where it is;
 * all that it changed is put back.
 */
static int find_shell_random(struct builder *b, struct error *err)
{
	const uint32_t seed = 0x5eed1e55;
	struct elf_query q[] = { { .name = "sbrand" }, { .name = "dollar_dollar_pid" } };
	struct copy before = { 0 };
	_cleanup_free_ uint32_t *after = NULL;
	int r;

	if (b->shell_seeded || !b->ready || elf_lookup(trace_root(b->trace), q, ARRAY_SIZE(q)) < 0 ||
	    !q[0].in_exe || !q[1].in_exe)
		return 0;
	r = copy_data(trace_root(b->trace), q[0].in_exe, &before);
	after = r == 0 ? malloc(before.len) : NULL;
	if (after)
		r = trace_call(b->trace, b->ready, BUILDER_SLOT_SEED, q[0].in_exe, seed, 0, err);
	if (after && r == 0)
		r = trace_read(trace_root(b->trace), before.start, after, before.len);
	for (uint64_t i = 0; after && r == 0 && i < before.len / sizeof(*after); i++) {
		uint64_t at = before.start + i * sizeof(*after);

		if (after[i] == before.words[i])
			continue;
		if (after[i] == seed)
			r = adaptor_add_random(&b->lines, (struct adaptor_range){ at, sizeof(seed) });
		if (r == 0)
			r = trace_write(trace_root(b->trace), at, &before.words[i], sizeof(seed));
	}
	free(before.words);
	return r;
}

int builder_fresh(struct builder *b, struct error *err)
{
	int r = trace_breakpoint(b->trace, BUILDER_SLOT_SEED, 0, err);

	if (r == 0)
		r = forget_sqlite(b, err);
	if (r == 0)
		r = find_shell_random(b, err);
	return r < 0 && !err->text[0] ? error_errno(err, r, "looking for random state") : r;
}
