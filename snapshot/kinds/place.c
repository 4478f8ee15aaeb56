/* SPDX-License-Identifier: MIT */
#include "snapshot/kinds/place.h"

#include <errno.h>
#include <sys/mman.h>

#include "engine/base/array.h"
#include "engine/proc.h"

#define GROWTH_GAP (1ull << 30) /* of file offsets behind anonymous memory, for mremap(2) */
#ifndef MAP_DROPPABLE
#define MAP_DROPPABLE 0x08
#endif

static uint32_t lock_flags(const struct model_vma *v)
{
	return (v->vmflags & VMF_LOCKED ? STUB_MAP_MLOCK : 0) |
	       (v->vmflags & VMF_SEALED ? STUB_MAP_MSEAL : 0);
}

static uint32_t reserve_flag(const struct model_vma *v)
{
	return v->vmflags & VMF_NORESERVE ? MAP_NORESERVE : 0;
}

static int add(struct place *p, const struct stub_map *map)
{
	struct stub_map *m = array_append(&p->maps, &p->nmaps, sizeof(*m));

	if (!m)
		return -ENOMEM;
	*m = *map;
	return 0;
}

/* the piece before @map, if both are of one kind and lie side by side in memory; their files and protections are the caller's to compare */
static struct stub_map *neighbour(const struct place *p, const struct stub_map *map)
{
	struct stub_map *last = p->nmaps ? &p->maps[p->nmaps - 1] : NULL;

	if (!last || last->file != map->file || last->addr + last->len != map->addr ||
	    last->mmap_flags != map->mmap_flags || last->flags != map->flags)
		return NULL;
	return last;
}

/*
 * A library is R, RX, R of one file since linkers separate code (-z separate-code, binutils 2.31), and was
 * one RX before: a segment that only reads becomes executable beside one that is already
 */
static bool joins(const struct place *p, uint32_t a, uint32_t b)
{
	return a == b || (p->join_text && (a & b) == PROT_READ && (a | b) == (PROT_READ | PROT_EXEC));
}

int place_file(struct place *p, const struct model_vma *v, uint64_t start, uint64_t end, int file)
{
	const struct stub_map m = {
		.addr = start,
		.len = end - start,
		.off = v->offset + (start - v->start),
		.prot = v->prot,
		.mmap_flags = (v->shared ? MAP_SHARED : MAP_PRIVATE) | reserve_flag(v),
		.file = file,
		.flags = lock_flags(v),
	};
	struct stub_map *last = neighbour(p, &m);

	if (!last || last->off + last->len != m.off ||
	    !(v->shared ? last->prot == m.prot : joins(p, last->prot, m.prot)))
		return add(p, &m);
	last->prot |= m.prot;
	last->len += m.len;
	return 0;
}

int place_anonymous(struct place *p, const struct model_vma *v, uint64_t start, uint64_t end)
{
	bool droppable = v->vmflags & VMF_DROPPABLE;
	const struct stub_map m = {
		.addr = start,
		.len = end - start,
		.prot = v->prot,
		.mmap_flags = droppable ? MAP_DROPPABLE | MAP_ANONYMOUS
					: MAP_PRIVATE | MAP_ANONYMOUS | reserve_flag(v),
		.file = STUB_FILE_NONE,
		.flags = lock_flags(v),
	};
	struct stub_map *last = neighbour(p, &m);

	if (!last || last->prot != m.prot || droppable)
		return add(p, &m);
	last->len += m.len;
	return 0;
}

/* where the next stored bytes go: behind what is there; what was laid out before has its place. Return: offset */
static uint64_t offset(struct place *p, uint64_t at, bool adjacent)
{
	if (at != MODEL_NO_OFFSET)
		return at;
	if (p->last_grows && !adjacent)
		p->pages_size += GROWTH_GAP;
	return p->pages_size;
}

static void note_stored(struct place *p, uint64_t end, bool grows)
{
	if (p->pages_size < end)
		p->pages_size = end;
	p->last_grows = grows;
}

int place_stored(struct place *p, const struct model_vma *v, uint64_t start, uint64_t end, uint64_t at)
{
	struct stub_map m = {
		.addr = start,
		.len = end - start,
		.prot = v->prot,
		.mmap_flags = MAP_PRIVATE | reserve_flag(v),
		.file = STUB_FILE_PAGES,
		.flags = lock_flags(v),
	};
	struct stub_map *last = neighbour(p, &m);
	int r = 0;

	if (last && last->prot != m.prot)
		last = NULL;
	m.off = offset(p, at, last);
	if (last && last->off + last->len == m.off)
		last->len += m.len;
	else
		r = add(p, &m);
	note_stored(p, m.off + m.len, v->object < 0);
	return r;
}

/* it is read in one piece: in a page file its runs lie as far apart as in memory. An image may say anything */
static bool is_one_piece(const struct model_vma *v)
{
	for (size_t i = 0; i < v->nruns; i++) {
		const struct model_run *first = &v->runs[0], *run = &v->runs[i];

		if (first->offset == MODEL_NO_OFFSET
			    ? run->offset != MODEL_NO_OFFSET
			    : run->offset - first->offset != run->start - first->start)
			return false;
	}
	return true;
}

int place_copy(struct place *p, const struct model_vma *v)
{
	struct stub_map m = {
		.addr = v->start,
		.len = v->end - v->start,
		.prot = v->prot,
		.mmap_flags = (v->shared ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS | reserve_flag(v),
		.file = STUB_FILE_NONE,
		.flags = lock_flags(v),
	};

	if (!is_one_piece(v))
		return -EBADMSG;
	if (v->vmflags & VMF_GROWSDOWN)
		m.mmap_flags |= MAP_GROWSDOWN | MAP_STACK;
	if (v->nruns) {
		m.flags |= STUB_MAP_COPY;
		if ((v->prot & (PROT_READ | PROT_WRITE)) != (PROT_READ | PROT_WRITE))
			m.flags |= STUB_MAP_PROTECT;
		m.copy_addr = v->runs[0].start;
		m.copy_len = v->runs[v->nruns - 1].end - v->runs[0].start;
		m.off = offset(p, v->runs[0].offset, false);
		note_stored(p, m.off + m.copy_len, false);
	}
	return add(p, &m);
}

void place_end(struct place *p)
{
	if (p->last_grows)
		p->pages_size += GROWTH_GAP;
	p->last_grows = false;
}
