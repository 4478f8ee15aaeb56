/* SPDX-License-Identifier: MIT */
/*
 * learn.c - which pages a clone needs: told by the first clones, made ahead in later ones.
 *
 * A page of a private file mapping that is read first and written then costs two
 * faults (3.4 us measured), one that MADV_POPULATE_WRITE makes in bulk 1.2.
 * At its exit a clone that was asked to (STUB_LAUNCH_LEARN) reads its own
 * /proc/self/pagemap: a page there that is present without bit 61 (file page) is its own,
 * so it was written; one with it was read, or lies beside one that was. The list goes to whoever the launcher named.
 */
#include "engine/stub/stub.h"

#include <linux/fcntl.h>
#include <linux/mman.h>
#include <sys/syscall.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_READ  22 /* Linux 5.14 */
#define MADV_POPULATE_WRITE 23
#endif

#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#define PIDFD_SELF   (-10000) /* the calling thread, Linux 6.14; before, -EBADF */
#define IOV_MAX	     1024
#define READ_PIECE   64 /* pages at a time, on the stub's stack */
#define FAULT_AROUND 65536ull /* fault_around_bytes, mm/memory.c */

#define PM_PRESENT (1ull << 63)
#define PM_FILE	   (1ull << 61)
#define CHUNK	   256 /* pagemap entries at a time, on the program's stack */

#define AF_UNIX	       1 /* <sys/socket.h> is the libc's */
#define SOCK_SEQPACKET 5
#define SOCK_CLOEXEC   O_CLOEXEC
#define MSG_NOSIGNAL   0x4000
#define MSG_DONTWAIT   0x40

struct learning {
	uint32_t count, first; /* first: of the mapping that is looked at */
	struct stub_range *ranges;
	uint64_t page, file; /* pages to be noted: PM_FILE or 0 */
	int full;
};

static void note(struct learning *w, uint64_t addr)
{
	struct stub_range *last = w->count > w->first ? &w->ranges[w->count - 1] : NULL;

	if (last && last->addr + last->len == addr) {
		last->len += w->page;
		return;
	}
	if (w->count == STUB_HOT_RANGES) {
		w->full = 1;
		return;
	}
	w->ranges[w->count++] = (struct stub_range){ addr, w->page };
}

static void scan(struct learning *w, long fd, const struct stub_map *m)
{
	uint64_t entries[CHUNK], pages = m->len / w->page;

	/* a range ends with its mapping, as what a read fault maps along does: populate_reads() */
	w->first = w->count;
	for (uint64_t at = 0; at < pages && !w->full; at += CHUNK) {
		uint64_t n = pages - at < CHUNK ? pages - at : CHUNK;

		if (SYSCALL4(SYS_pread64, fd, entries, n * 8, (m->addr / w->page + at) * 8) != (long)(n * 8))
			return;
		for (uint64_t i = 0; i < n; i++)
			if ((entries[i] & PM_PRESENT) && (entries[i] & PM_FILE) == w->file)
				note(w, m->addr + (at + i) * w->page);
	}
}

/* less to be gained than with writes: if there is no room for all, none */
static void learn_reads(struct stub_process *p, struct learning *w, long fd)
{
	const struct stub_map *m = stub_at(p->maps);
	const uint32_t written = w->count;

	w->file = PM_FILE;
	for (uint32_t i = 0; i < p->nmaps; i++)
		if (m[i].file != STUB_FILE_NONE && !(m[i].flags & STUB_MAP_COPY))
			scan(w, fd, m + i);
	if (w->full)
		w->count = written;
	w->full = 0;
	for (uint32_t i = written; i < w->count; i++)
		w->ranges[i].len |= STUB_HOT_READ;
}

static void report(const struct stub_launch *l, const void *message, uint64_t len)
{
	struct {
		uint16_t family;
		char path[108];
	} address = { .family = AF_UNIX };
	long fd = SYSCALL3(SYS_socket, AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	memcpy(address.path, l->learn_socket, sizeof(l->learn_socket));
	/* a daemon that is gone or busy hears nothing: it is only a hint */
	if (SYSCALL3(SYS_connect, fd, &address, sizeof(address)) == 0)
		SYSCALL6(SYS_sendto, fd, message, len, MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0);
	SYSCALL1(SYS_close, fd);
}

void stub_learn(struct stub_process *p)
{
	const struct stub_launch *l = stub_launch_area();
	const struct stub_map *m = stub_at(p->maps);
	struct learning w = { .page = stub_data.page_size };
	const uint64_t head = l->learn_prefix_len + 8;
	uint32_t *tail;
	long at, fd;

	/* a child of the program shares the launch area, not the task */
	if (!(l->flags & STUB_LAUNCH_LEARN) || SYSCALL0(SYS_getpid) != (long)l->pid)
		return;
	at = SYSCALL6(SYS_mmap, 0, head + STUB_HOT_RANGES * sizeof(struct stub_range), PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	fd = SYSCALL4(SYS_openat, AT_FDCWD, "/proc/self/pagemap", O_RDONLY | O_CLOEXEC, 0);
	if (at < 0 || fd < 0)
		return;
	w.ranges = (struct stub_range *)(at + (long)head);
	for (uint32_t i = 0; i < p->nmaps; i++)
		if (m[i].file <= STUB_FILE_PAGES && (m[i].prot & PROT_WRITE) && !(m[i].flags & STUB_MAP_COPY))
			scan(&w, fd, m + i);
	if (!w.full)
		learn_reads(p, &w, fd);
	SYSCALL1(SYS_close, fd);
	if (w.full)
		return;
	memcpy((char *)at, l->learn_prefix, l->learn_prefix_len);
	*(uint32_t *)(at + (long)l->learn_size_at) = (uint32_t)(head + w.count * sizeof(struct stub_range));
	tail = (uint32_t *)(at + (long)l->learn_prefix_len);
	tail[0] = w.count;
	tail[1] = stub_learn_kind(((const struct stub_context *)l->context)->stdio);
	report(l, (const char *)at, head + w.count * sizeof(struct stub_range));
}

/* struct stub_range is struct iovec. One call saves 0.18 us a range. Return: 0 when all of it is there */
static int populate_at_once(const struct stub_range *r, uint32_t n, int advice)
{
	while (n) {
		uint32_t piece = n < IOV_MAX ? n : IOV_MAX;
		uint64_t bytes = 0;

		for (uint32_t i = 0; i < piece; i++)
			bytes += r[i].len;
		if (SYSCALL5(SYS_process_madvise, PIDFD_SELF, r, piece, advice, 0) != (long)bytes)
			return -1;
		r += piece;
		n -= piece;
	}
	return 0;
}

static void populate(const struct stub_launch *l, const struct stub_range *r, uint32_t n, int advice)
{
	/* a seccomp filter may kill for a call that it does not know */
	if (!(l->flags & STUB_LAUNCH_SECCOMP) && populate_at_once(r, n, advice) == 0)
		return;
	/* an older kernel knows no populating: then the pages come one by one */
	for (uint32_t i = 0; i < n; i++)
		SYSCALL3(SYS_madvise, r[i].addr, r[i].len, advice);
}

/* an order that came while the clone was made */
static int is_awaited(const struct stub_launch *l)
{
	struct {
		int32_t fd;
		int16_t events, revents;
	} p = { l->channel_fd, 1 /* POLLIN */, 0 };
	const int64_t now[2] = { 0, 0 };

	return !(l->flags & STUB_LAUNCH_SECCOMP) && SYSCALL5(SYS_ppoll, &p, 1, now, 0, 0) != 0;
}

/* one page of each window is enough: the kernel maps what lies around it, as it did where this was learned (do_fault_around()) */
static void populate_reads(const struct stub_launch *l, const struct stub_range *r,
			   const struct stub_range *end)
{
	struct stub_range pages[READ_PIECE];
	uint32_t n = 0;

	for (; r < end; r++) {
		uint64_t to = r->addr + (r->len & ~STUB_HOT_READ);

		for (uint64_t at = r->addr; at < to; at = (at | (FAULT_AROUND - 1)) + 1) {
			pages[n++] = (struct stub_range){ at, stub_data.page_size };
			if (n < READ_PIECE)
				continue;
			populate(l, pages, n, MADV_POPULATE_READ);
			n = 0;
			if (is_awaited(l))
				return;
		}
	}
	if (n)
		populate(l, pages, n, MADV_POPULATE_READ);
}

void stub_populate(struct stub_launch *l, struct stub_process *p)
{
	const struct stub_range *r = stub_at(p->hot);
	uint32_t written = 0;

	while (written < p->nhot && !(r[written].len & STUB_HOT_READ))
		written++;
	populate(l, r, written, MADV_POPULATE_WRITE);
	if (!(l->flags & STUB_LAUNCH_PARK))
		return;
	/* a fault maps neighbours too, so reading ahead pays only where nobody waits */
	populate_reads(l, r + written, r + p->nhot);
	stub_hold(l, p);
}
