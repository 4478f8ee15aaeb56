/* SPDX-License-Identifier: MIT */
/*
 * plan_generation.c - where libraries of the program keep the number of the clone that they are in:
 * launcher/warm.h, WARM_GENERATION_COUNTER().
 *
 * They tell it by an ELF note, which is there also where symbols are not: in a program that libwarm.a was linked to and
 * that is stripped, in a library that hides its symbols.
 */
#include "snapshot/plan/plan_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "engine/elf.h"
#include "engine/trace.h"

#define NOTE_OWNER   "warm"
#define NOTE_COUNTER 1

struct counters {
	struct image *im;
	const struct record_process *p;
	uint32_t n;
};

static const struct record_vma *vma_of(const struct record_process *p, uint64_t addr)
{
	for (size_t i = 0; i < p->nvmas; i++)
		if (addr >= p->vmas[i].start && addr < p->vmas[i].end)
			return &p->vmas[i];
	return NULL;
}

/*
 * A file that is mapped as data (by a debugger, say) has its note too, and something else where its counter would be. Of a
 * library that is loaded it lies in another mapping of the file, or in the zeros behind one (bss). A clone
 * writes there before anything could handle a fault.
 */
static bool is_counter(const struct record_process *p, uint64_t note, uint64_t addr)
{
	const struct record_vma *from = vma_of(p, note), *v = vma_of(p, addr);
	uint64_t value;

	if (!from || from->object < 0 || !v || v == from || addr % sizeof(value) ||
	    v->end - addr < sizeof(value) || !(v->prot & PROT_WRITE) || v->shared)
		return false;
	if (v->object < 0 && (v == p->vmas || v[-1].end != v->start || v[-1].object != from->object))
		return false;
	if (v->object >= 0 && v->object != from->object)
		return false;
	return trace_read(p->pid, addr, &value, sizeof(value)) == 0 && value == 0;
}

static int add_counter(void *data, uint64_t addr, const void *desc, size_t len)
{
	struct counters *c = data;
	uint64_t counter, at;
	int64_t distance;

	if (len != sizeof(distance))
		return 0;
	memcpy(&distance, desc, sizeof(distance));
	counter = addr + (uint64_t)distance;
	if (!is_counter(c->p, addr, counter))
		return 0;
	/* nothing else is put meanwhile: they lie one behind the other */
	at = image_put(c->im, &counter, sizeof(counter), 8);
	if (!c->n++)
		image_set_process(c->im, offsetof(struct stub_process, generations), at);
	return 0;
}

int put_generations(struct image *im, const struct record_process *p, struct error *err)
{
	struct counters c = { .im = im, .p = p };
	int r = elf_notes(p->pid, NOTE_OWNER, NOTE_COUNTER, add_counter, &c);

	if (r < 0)
		return error_errno(err, r, "reading the program's ELF notes");
	if (!im->failed)
		image_process(im)->ngenerations = c.n;
	return 0;
}
