/* SPDX-License-Identifier: MIT */
/*
 * dump_locks.c - locks that the program's threads hold, and that name their owner by its thread id.
 *
 * A readiness point may lie anywhere, so also where a library holds a lock: SQLite its connection's around open(2), the
 * dynamic linker its own around a constructor. A recursive mutex with the old id would be somebody else's in a clone, which
 * would wait for itself for ever; a write lock would be given back as a read lock. No program tells where its locks are, so
 * they are found by what they look like: glibc's struct __pthread_mutex_s and struct __pthread_rwlock_arch_t of 64-bit
 * machines (sysdeps/nptl/bits/struct_mutex.h, struct_rwlock.h), with the id of a thread in them. Seven fields have to fit, of a
 * mutex that knows its owner or a lock that is held for writing; anything else stays as it is.
 *
 * Not found: musl's (a type, then the owner: too little to know one by), and locks in memory shared with others.
 */
#include "snapshot/dump/dump.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"

#define CHUNK	  (1 << 20)
#define USERS_MAX 65536
#define TID_MASK  0x3fffffffu /* FUTEX_TID_MASK */
#define TYPE_MASK                                                                                            \
	3 /* PTHREAD_MUTEX_RECURSIVE_NP, _ERRORCHECK_NP; 0: normal, 3: adaptive, where nobody looks at the owner */
#define KIND_ROBUST  0x10
#define KIND_INHERIT 0x20
#define KIND_MASK    0xff

struct mutex {
	uint32_t lock, count, owner, users;
	int32_t kind;
	int16_t spins, elision;
};

struct rwlock {
	uint32_t readers, writers, phase, writers_futex, pad[2];
	uint32_t writer;
	int32_t shared;
	uint8_t elision, pad1[7];
	uint64_t pad2;
	uint32_t flags, pad3;
};

struct locks {
	const struct frozen_process *frozen;
	const struct model_process *p;
	struct model_space *space;
	bool failed; /* no memory */
};

static void add(struct locks *s, uint64_t addr, uint32_t thread)
{
	struct model_owner *o = array_append(&s->space->owners, &s->space->nowners, sizeof(*o));

	if (o)
		*o = (struct model_owner){ addr, thread };
	s->failed |= !o;
}

static void look_for_mutex(struct locks *s, uint64_t owner, uint32_t thread)
{
	uint64_t at = owner - offsetof(struct mutex, owner);
	bool names_in_lock;
	struct mutex m;

	if (at % 8 || frozen_read(s->frozen, at, &m, sizeof(m)) < 0)
		return;
	names_in_lock = m.kind & (KIND_ROBUST | KIND_INHERIT);
	if (m.kind & ~KIND_MASK || m.users < 1 || m.users >= USERS_MAX || m.elision || m.spins < 0)
		return;
	if (names_in_lock ? (m.lock & TID_MASK) != m.owner : m.lock != 1 && m.lock != 2)
		return;
	switch (m.kind & TYPE_MASK) {
	case 1:
		if (m.count < 1)
			return;
		break;
	case 2:
		break;
	default:
		if (!names_in_lock)
			return;
	}
	add(s, owner, thread);
	if (names_in_lock)
		add(s, at, thread);
}

static void look_for_rwlock(struct locks *s, uint64_t writer, uint32_t thread)
{
	uint64_t at = writer - offsetof(struct rwlock, writer);
	struct rwlock l;

	if (at % 8 || frozen_read(s->frozen, at, &l, sizeof(l)) < 0)
		return;
	/* the two lowest bits: a writer has it, and it is the writers' turn (nptl/pthread_rwlock_common.c) */
	if ((l.readers & 3) != 3 || l.readers >> 3 >= USERS_MAX || l.writers >= USERS_MAX || l.elision ||
	    l.flags > 2 || (l.shared != 0 && l.shared != 1))
		return;
	add(s, writer, thread);
}

static void look_at_words(struct locks *s, const uint32_t *v, size_t n, uint64_t from)
{
	uint32_t lowest = UINT32_MAX, highest = 0;

	for (size_t i = 0; i < s->p->nthreads; i++) {
		uint32_t tid = (uint32_t)s->p->threads[i].tid;

		lowest = tid < lowest ? tid : lowest;
		highest = tid > highest ? tid : highest;
	}
	for (size_t i = 0; i < n; i++) {
		if (v[i] < lowest || v[i] > highest)
			continue;
		for (size_t thread = 0; thread < s->p->nthreads; thread++) {
			if (v[i] != (uint32_t)s->p->threads[thread].tid)
				continue;
			look_for_mutex(s, from + i * sizeof(*v), (uint32_t)thread);
			look_for_rwlock(s, from + i * sizeof(*v), (uint32_t)thread);
		}
	}
}

int dump_locks(const struct frozen_process *frozen, const struct model_process *p, struct model_space *space,
	       struct error *err)
{
	_cleanup_free_ uint32_t *buf = malloc(CHUNK);
	struct locks s = { .frozen = frozen, .p = p, .space = space };

	if (!buf)
		return error_set(err, ENOMEM, "no memory to look for locks");
	for (size_t i = 0; i < space->nvmas; i++) {
		const struct model_vma *v = &space->vmas[i];

		if (!(v->prot & PROT_WRITE) || v->shared)
			continue;
		for (size_t run = 0; run < v->nruns; run++) {
			uint64_t at = v->runs[run].start, end = v->runs[run].end;

			for (size_t n; at < end; at += n) {
				n = end - at < CHUNK ? end - at : CHUNK;
				/* a page that cannot be read this way has no lock that anybody holds */
				if (frozen_read(frozen, at, buf, n) == 0)
					look_at_words(&s, buf, n / sizeof(*buf), at);
			}
		}
	}
	return s.failed ? error_set(err, ENOMEM, "no memory for locks") : 0;
}
