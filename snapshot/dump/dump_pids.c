/* SPDX-License-Identifier: MIT */
/*
 * dump_pids.c - where a runtime keeps its own process id, to tell it or to compare it with getpid(2).
 *
 * A clone has another one, and the stub puts it there. The program is not asked, so this works at every readiness point:
 *
 * - bash: `$$` is the variable dollar_dollar_pid, which it exports for its loadable builtins.
 * - dash: `$$` is rootpid, a variable that has no symbol. It is among some kilobytes of its own variables: the word there
 *   that is the process id.
 * - CPython 3.9 to 3.11: the asyncio loop that runs in a thread is kept with the id of the process that set it, as a
 *   child by fork(2) has no running loop (PyRunningLoopHolder in Modules/_asynciomodule.c). That is an object in C without a
 *   symbol. Its type is found by its name, in the extension module's data; then the objects, by their type.
 *   Newer ones compare no process ids.
 */
#include "snapshot/dump/dump.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "engine/elf.h"

#define SYMBOL "dollar_dollar_pid"
#define MODULE "/_asyncio."
#define TYPE   "\0_RunningLoopHolder"

/* PyTypeObject and PyRunningLoopHolder of 64-bit builds without Py_TRACE_REFS: words */
#define TYPE_NAME_AT   3 /* ob_refcnt, ob_type, ob_size, tp_name */
#define HOLDER_TYPE_AT 1 /* ob_refcnt, ob_type, rl_loop, rl_pid */
#define HOLDER_LOOP_AT 2
#define HOLDER_PID_AT  3
#define HOLDER_WORDS   4

#define CHUNK (1 << 20)

struct pids {
	const struct frozen_process *frozen;
	struct model_space *space;
	bool failed; /* no memory */
};

static void add(struct pids *s, uint64_t addr)
{
	uint64_t *added = array_append(&s->space->pids, &s->space->npids, sizeof(*added));

	if (added)
		*added = addr;
	s->failed |= !added;
}

static void add_symbol(struct pids *s)
{
	struct elf_query q = { .name = SYMBOL };
	int32_t value;

	if (elf_lookup(s->frozen->pid, &q, 1) == 0 && q.in_exe &&
	    frozen_read(s->frozen, q.in_exe, &value, sizeof(value)) == 0 && value == s->frozen->pid)
		add(s, q.in_exe);
}

/* a mapping's memory; NULL when it cannot be read, or is none of this kind */
static void *read_all(const struct frozen_process *frozen, const struct model_vma *v)
{
	uint64_t len = v->end - v->start;
	void *bytes = len <= 16 * CHUNK ? malloc(len) : NULL;

	if (bytes && frozen_read(frozen, v->start, bytes, len) < 0) {
		free(bytes);
		return NULL;
	}
	return bytes;
}

static bool is_module(const struct model_vma *v)
{
	return v->object >= 0 && v->name && strstr(v->name, MODULE);
}

/* the address of the type's name in the module; 0: this version has no such type */
static uint64_t find_name(const struct pids *s)
{
	for (size_t i = 0; i < s->space->nvmas; i++) {
		const struct model_vma *v = &s->space->vmas[i];
		_cleanup_free_ char *bytes = NULL;
		const char *found;

		if (!is_module(v) || v->prot & PROT_WRITE)
			continue;
		bytes = read_all(s->frozen, v);
		found = bytes ? memmem(bytes, v->end - v->start, TYPE, sizeof(TYPE)) : NULL;
		if (found)
			return v->start + (uint64_t)(found - bytes) + 1;
	}
	return 0;
}

/* the address of the type that has this name */
static uint64_t find_type(const struct pids *s, uint64_t name)
{
	for (size_t i = 0; i < s->space->nvmas && name; i++) {
		const struct model_vma *v = &s->space->vmas[i];
		_cleanup_free_ uint64_t *words = NULL;

		if (!is_module(v) || !(v->prot & PROT_WRITE))
			continue;
		words = read_all(s->frozen, v);
		for (uint64_t n = TYPE_NAME_AT; words && n < (v->end - v->start) / sizeof(*words); n++)
			if (words[n] == name)
				return v->start + (n - TYPE_NAME_AT) * sizeof(*words);
	}
	return 0;
}

/* One that was freed is as good: its four bytes are overwritten when the memory is used again */
static bool is_holder(const struct pids *s, const uint64_t *words, uint64_t type)
{
	return words[HOLDER_TYPE_AT] == type && words[HOLDER_LOOP_AT] &&
	       (int32_t)words[HOLDER_PID_AT] == s->frozen->pid;
}

static void add_holders(struct pids *s, const struct model_run *v, uint64_t type, uint64_t *words)
{
	for (uint64_t at = v->start; at < v->end; at += CHUNK) {
		/* a holder may reach over a chunk's end */
		uint64_t len = v->end - at < CHUNK + sizeof(*words) * HOLDER_WORDS
				       ? v->end - at
				       : CHUNK + sizeof(*words) * HOLDER_WORDS;

		if (frozen_read(s->frozen, at, words, len) < 0)
			return; /* guard pages */
		for (uint64_t n = 0; n + HOLDER_WORDS <= len / sizeof(*words) && n < CHUNK / sizeof(*words);
		     n++)
			if (is_holder(s, words + n, type))
				add(s, at + (n + HOLDER_PID_AT) * sizeof(*words));
	}
}

static void add_words(struct pids *s, const struct model_vma *v)
{
	_cleanup_free_ int32_t *words = read_all(s->frozen, v);

	for (uint64_t n = 0; words && n < (v->end - v->start) / sizeof(*words); n++)
		if (words[n] == s->frozen->pid)
			add(s, v->start + n * sizeof(*words));
}

static void add_dash(struct pids *s)
{
	for (size_t i = 0; i < s->space->nvmas; i++) {
		const struct model_vma *v = &s->space->vmas[i], *next = v + 1;
		const char *name = v->object >= 0 && v->name ? strrchr(v->name, '/') : NULL;

		if (!name || strcmp(name, "/dash") != 0 || !(v->prot & PROT_WRITE))
			continue;
		add_words(s, v);
		/* its .bss goes on where the file ends */
		if (i + 1 < s->space->nvmas && next->start == v->end && next->object < 0 &&
		    (!next->name || !next->name[0]))
			add_words(s, next);
	}
}

int dump_pids(const struct frozen_process *frozen, struct model_space *space, struct error *err)
{
	struct pids s = { .frozen = frozen, .space = space };
	uint64_t type = find_type(&s, find_name(&s));
	_cleanup_free_ uint64_t *words = NULL;

	add_symbol(&s);
	add_dash(&s);
	if (type) {
		words = malloc(CHUNK + sizeof(*words) * HOLDER_WORDS);
		s.failed |= !words;
	}
	for (size_t i = 0; i < space->nvmas && words; i++) {
		const struct model_vma *v = &space->vmas[i];

		if (v->object < 0 && !v->shared && v->prot & PROT_WRITE && v->prot & PROT_READ)
			for (size_t n = 0; n < v->nruns; n++)
				add_holders(&s, &v->runs[n], type, words);
	}
	return s.failed ? error_set(err, ENOMEM, "no memory to look for process ids") : 0;
}
