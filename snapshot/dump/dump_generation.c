/* SPDX-License-Identifier: MIT */
/*
 * dump_generation.c - where libraries of the program keep the number of the clone that they are in:
 * launcher/warm.h, WARM_GENERATION_COUNTER().
 *
 * They tell it by an ELF note, which is there also where symbols are not: in a program that libwarm.a was linked to and
 * that is stripped, in a library that hides its symbols.
 */
#include "snapshot/dump/dump.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/base/array.h"
#include "engine/elf.h"

#define NOTE_OWNER   "warm"
#define NOTE_COUNTER 1

struct counters {
	const struct frozen_process *frozen;
	struct model_space *space;
};

static const struct model_vma *vma_of(const struct model_space *s, uint64_t addr)
{
	for (size_t i = 0; i < s->nvmas; i++)
		if (addr >= s->vmas[i].start && addr < s->vmas[i].end)
			return &s->vmas[i];
	return NULL;
}

/*
 * A file that is mapped as data (by a debugger, say) has its note too, and something else where its counter would be. Of a
 * library that is loaded it lies in another mapping of the file, or in the zeros behind one (bss). A clone
 * writes there before anything could handle a fault.
 */
static bool is_counter(const struct counters *c, uint64_t note, uint64_t addr)
{
	const struct model_vma *from = vma_of(c->space, note), *v = vma_of(c->space, addr);
	uint64_t value;

	if (!from || from->object < 0 || !v || v == from || addr % sizeof(value) ||
	    v->end - addr < sizeof(value) || !(v->prot & PROT_WRITE) || v->shared)
		return false;
	if (v->object < 0 && (v == c->space->vmas || v[-1].end != v->start || v[-1].object != from->object))
		return false;
	if (v->object >= 0 && v->object != from->object)
		return false;
	return frozen_read(c->frozen, addr, &value, sizeof(value)) == 0 && value == 0;
}

static int add_counter(void *data, uint64_t addr, const void *desc, size_t len)
{
	struct counters *c = data;
	uint64_t counter, *added;
	int64_t distance;

	if (len != sizeof(distance))
		return 0;
	memcpy(&distance, desc, sizeof(distance));
	counter = addr + (uint64_t)distance;
	if (!is_counter(c, addr, counter))
		return 0;
	added = array_append(&c->space->generations, &c->space->ngenerations, sizeof(*added));
	if (!added)
		return -ENOMEM;
	*added = counter;
	return 0;
}

int dump_generations(const struct frozen_process *frozen, struct model_space *space, struct error *err)
{
	struct counters c = { .frozen = frozen, .space = space };
	int r = elf_notes(frozen->pid, NOTE_OWNER, NOTE_COUNTER, add_counter, &c);

	return r < 0 ? error_errno(err, r, "reading the program's ELF notes") : 0;
}
