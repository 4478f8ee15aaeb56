/* SPDX-License-Identifier: MIT */
#include "pty/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "pty/pty.h"

#define RING_MAGIC   "WARMRING"
#define RING_VERSION 1
#define DATA_OFFSET  4096 /* the same whatever the page size: the two parts are one mapping */
#define RING_SEALS   (F_SEAL_SHRINK | F_SEAL_GROW)

struct ring_header {
	uint8_t magic[8];
	uint32_t version;
	uint32_t reserved;
	uint64_t size;
	/* what is written often, on a cache line of its own */
	_Alignas(64) _Atomic uint64_t head;
	_Atomic uint32_t viewers;
	_Atomic uint32_t raw;
};

_Static_assert(sizeof(struct ring_header) <= DATA_OFFSET, "the header fits before the data");
_Static_assert(RING_MIN_BYTES >= 4 * RING_CHUNK, "most of a ring can be read");

static int map(int fd, size_t size, struct ring *ret)
{
	uint8_t *p = mmap(NULL, DATA_OFFSET + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	*ret = (struct ring){ .fd = -EBADF,
			      .header = (struct ring_header *)p,
			      .data = p + DATA_OFFSET,
			      .size = size,
			      .mapped = DATA_OFFSET + size };
	return 0;
}

int ring_create(size_t bytes, struct ring *ret)
{
	_cleanup_close_ int fd = -EBADF;
	size_t size = RING_MIN_BYTES;
	struct ring r = RING_NONE;
	int code;

	if (bytes == 0)
		bytes = PTY_RING_BYTES;
	if (bytes > RING_MAX_BYTES)
		return -EINVAL;
	while (size < bytes)
		size *= 2;
	fd = memfd_create("warm-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)(DATA_OFFSET + size)) < 0 ||
	    fcntl(fd, F_ADD_SEALS, RING_SEALS | F_SEAL_SEAL) < 0)
		return -errno;
	code = map(fd, size, &r);
	if (code < 0)
		return code;
	memcpy(r.header->magic, RING_MAGIC, sizeof(r.header->magic));
	r.header->version = RING_VERSION;
	r.header->size = size;
	r.fd = TAKE_FD(fd);
	*ret = r;
	return 0;
}

int ring_map(int fd, struct ring *ret)
{
	struct stat st;
	struct ring r = RING_NONE;
	size_t size;
	int seals, code;

	if (fstat(fd, &st) < 0)
		return -errno;
	/* what is sealed cannot be cut off under us later, which would be a SIGBUS */
	seals = fcntl(fd, F_GET_SEALS);
	if (seals < 0 || (seals & RING_SEALS) != RING_SEALS)
		return -EBADMSG;
	if (st.st_size < DATA_OFFSET + RING_MIN_BYTES ||
	    st.st_size > (off_t)DATA_OFFSET + (off_t)RING_MAX_BYTES)
		return -EBADMSG;
	size = (size_t)st.st_size - DATA_OFFSET;
	if (size & (size - 1))
		return -EBADMSG;
	code = map(fd, size, &r);
	if (code < 0)
		return code;
	if (memcmp(r.header->magic, RING_MAGIC, sizeof(r.header->magic)) != 0 ||
	    r.header->version != RING_VERSION || r.header->size != size) {
		ring_unmap(&r);
		return -EBADMSG;
	}
	*ret = r;
	return 0;
}

void ring_unmap(struct ring *r)
{
	if (r->header) {
		munmap(r->header, r->mapped);
		fd_close(r->fd);
	}
	*r = (struct ring)RING_NONE;
}

uint64_t ring_head(const struct ring *r)
{
	return atomic_load_explicit(&r->header->head, memory_order_acquire);
}

/* the pump may be writing the RING_CHUNK bytes behind @head, that is over the oldest ones */
static uint64_t oldest(const struct ring *r, uint64_t head)
{
	size_t kept = r->size - RING_CHUNK;

	return head > kept ? head - kept : 0;
}

uint64_t ring_oldest(const struct ring *r)
{
	return oldest(r, ring_head(r));
}

size_t ring_space(struct ring *r, void **ret)
{
	size_t at = ring_head(r) & (r->size - 1), n = r->size - at;

	*ret = r->data + at;
	return n < RING_CHUNK ? n : RING_CHUNK;
}

void ring_commit(struct ring *r, size_t n)
{
	uint64_t head = ring_head(r);

	if (n > RING_CHUNK)
		n = RING_CHUNK;
	/* in one order with `viewers`: a follower counts itself in and then looks at head, we the other way round */
	atomic_store(&r->header->head, head + n);
}

/* put *pos between the oldest byte and the head. Return: bytes that were skipped */
static uint64_t catch_up(const struct ring *r, uint64_t head, uint64_t *pos)
{
	uint64_t first = oldest(r, head), lost = 0;

	if (*pos > head) {
		*pos = head;
	} else if (*pos < first) {
		lost = first - *pos;
		*pos = first;
	}
	return lost;
}

size_t ring_read(const struct ring *r, uint64_t *pos, const void **ret, uint64_t *ret_lost)
{
	uint64_t head = ring_head(r), lost = catch_up(r, head, pos);
	size_t at = *pos & (r->size - 1), n = head - *pos;

	if (ret_lost)
		*ret_lost = lost;
	*ret = r->data + at;
	return n < r->size - at ? n : r->size - at;
}

static void copy_out(const struct ring *r, uint64_t pos, uint8_t *buf, size_t n)
{
	size_t at = pos & (r->size - 1), first = n < r->size - at ? n : r->size - at;

	memcpy(buf, r->data + at, first);
	memcpy(buf + first, r->data, n - first);
}

size_t ring_copy(const struct ring *r, uint64_t *pos, void *buf, size_t size, uint64_t *ret_lost)
{
	uint64_t lost = 0;
	size_t n = 0;

	/* each further attempt is a little ahead of the pump, which overtook us during the one before */
	for (unsigned int ahead = 0; ahead < 8; ahead++) {
		uint64_t head = ring_head(r), skipped = catch_up(r, head, pos);

		lost += skipped;
		if (skipped && ahead) {
			uint64_t step = ahead * (r->size / 16);

			step = step < head - *pos ? step : head - *pos;
			*pos += step;
			lost += step;
		}
		n = head - *pos < size ? (size_t)(head - *pos) : size;
		copy_out(r, *pos, buf, n);
		atomic_thread_fence(memory_order_acquire);
		if (*pos >= oldest(r, ring_head(r)))
			break;
		n = 0; /* torn */
	}
	*pos += n;
	if (ret_lost)
		*ret_lost = lost;
	return n;
}

void ring_follow(struct ring *r, int change)
{
	atomic_fetch_add(&r->header->viewers, (uint32_t)change);
}

void ring_forget_followers(struct ring *r)
{
	atomic_store(&r->header->viewers, 0);
}

int ring_followers(const struct ring *r)
{
	return atomic_load(&r->header->viewers) != 0;
}

void ring_set_raw(struct ring *r, bool raw)
{
	atomic_store_explicit(&r->header->raw, raw, memory_order_relaxed);
}

bool ring_is_raw(const struct ring *r)
{
	return atomic_load_explicit(&r->header->raw, memory_order_relaxed) != 0;
}
