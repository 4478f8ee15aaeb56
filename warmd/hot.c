/* SPDX-License-Identifier: MIT */
#include "warmd/hot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/stub/abi.h"
#include "snapshot/plan.h"
#include "warmd/pool.h"

_Static_assert(sizeof(struct wire_range) == sizeof(struct stub_range),
	       "the wire carries what the stub takes");
_Static_assert(WIRE_LEARN_RANGES == STUB_HOT_RANGES, "as many as there is room for");

struct hot {
	struct wire_range
		*ranges; /* what all samples so far have: written ones, then those that were only read */
	size_t n;
	unsigned int samples;
};

void hot_free(struct hot *h)
{
	if (!h)
		return;
	free(h->ranges);
	free(h);
}

bool hot_wanted(const struct template *t)
{
	return t->state == TEMPLATE_READY && (!t->hot || t->hot->samples < HOT_SAMPLES);
}

static uint64_t end_of(const struct wire_range *r)
{
	return r->addr + (r->len & ~STUB_HOT_READ);
}

static size_t count_written(const struct wire_range *r, size_t n)
{
	size_t i = 0;

	while (i < n && !(r[i].len & STUB_HOT_READ))
		i++;
	return i;
}

/* of two lists of one kind. Return: how many of both's ranges are in @out, which has room for @nout */
static size_t intersect(const struct wire_range *a, size_t na, const struct wire_range *b, size_t nb,
			struct wire_range *out, size_t nout)
{
	size_t n = 0;

	for (size_t i = 0, j = 0; i < na && j < nb && n < nout;) {
		uint64_t start = a[i].addr > b[j].addr ? a[i].addr : b[j].addr;
		uint64_t aend = end_of(&a[i]), bend = end_of(&b[j]);
		uint64_t end = aend < bend ? aend : bend;

		if (start < end)
			out[n++] = (struct wire_range){ start, (end - start) | (a[i].len & STUB_HOT_READ) };
		if (aend < bend)
			i++;
		else
			j++;
	}
	return n;
}

static int check(const struct wire_learn *m, size_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = 0, sum = 0, kind = 0;

	if (len < sizeof(*m) || m->count > WIRE_LEARN_RANGES ||
	    len != sizeof(*m) + m->count * sizeof(m->ranges[0]))
		return -EBADMSG;
	for (uint32_t i = 0; i < m->count; i++) {
		const struct wire_range *r = &m->ranges[i];
		uint64_t bytes = r->len & ~STUB_HOT_READ;

		/* the second list begins at low addresses again */
		if ((r->len & STUB_HOT_READ) > kind) {
			kind = STUB_HOT_READ;
			end = 0;
		}
		if ((r->len & STUB_HOT_READ) != kind || r->addr < end || !bytes || (r->addr | bytes) % page ||
		    r->addr + bytes < r->addr)
			return -EBADMSG;
		end = r->addr + bytes;
		sum += kind ? 0 : bytes;
	}
	return sum > HOT_BYTES_MAX ? -E2BIG : 0;
}

/* a copy of the control file with the ranges in it, sealed as the old one */
static int new_control(const struct template *t, const struct hot *h)
{
	_cleanup_close_ int fd = plan_memfd("warm-control", NULL);
	uint64_t text = t->result->text_size;
	struct stub_data head;
	struct stat st;
	off_t from = 0;
	uint32_t n = (uint32_t)h->n;
	int r;

	if (fd < 0)
		return fd;
	if (fstat(t->fds[0], &st) < 0 || ftruncate(fd, st.st_size) < 0)
		return -errno;
	r = pread_full(t->fds[0], &head, sizeof(head), (off_t)text);
	if (r < 0 || n > head.hot_room)
		return r < 0 ? r : -E2BIG;
	while (from < st.st_size) {
		ssize_t copied = copy_file_range(t->fds[0], &from, fd, NULL, (size_t)(st.st_size - from), 0);

		if (copied <= 0)
			return copied < 0 ? -errno : -EIO;
	}
	r = pwrite_full(fd, h->ranges, n * sizeof(h->ranges[0]), (off_t)(text + head.hot));
	if (r == 0)
		r = pwrite_full(fd, &n, sizeof(n), (off_t)(text + offsetof(struct stub_data, nhot)));
	if (r == 0)
		r = plan_seal(fd, NULL);
	return r < 0 ? r : TAKE_FD(fd);
}

static void add_sample(struct template *t, const struct wire_learn *m)
{
	struct hot *h = t->hot;
	struct wire_range *both;
	int fd;

	if (!h)
		h = t->hot = calloc(1, sizeof(*h));
	both = calloc(WIRE_LEARN_RANGES, sizeof(*both));
	if (!h || !both) {
		free(both);
		return;
	}
	if (h->samples) {
		size_t hw = count_written(h->ranges, h->n), mw = count_written(m->ranges, m->count), n;

		n = intersect(h->ranges, hw, m->ranges, mw, both, WIRE_LEARN_RANGES);
		h->n = n + intersect(h->ranges + hw, h->n - hw, m->ranges + mw, m->count - mw, both + n,
				     WIRE_LEARN_RANGES - n);
	} else {
		memcpy(both, m->ranges, m->count * sizeof(*both));
		h->n = m->count;
	}
	free(h->ranges);
	h->ranges = both;
	h->samples++;
	fd = new_control(t, h);
	if (fd < 0) {
		log_warning("template '%s': pages that clones write: %s", t->label, strerror(-fd));
		return;
	}
	fd_close(t->fds[0]);
	t->fds[0] = fd;
	if (t->pool)
		pool_new_hot(t->pool);
	log_debug("template '%s': %zu ranges are made ahead after %u clones", t->label, h->n, h->samples);
}

int hot_take(struct store *s, const void *packet, size_t len)
{
	const struct wire_learn *m = packet;
	int r = check(m, len);

	if (r == -EBADMSG)
		return r;
	for (struct template *t = s->list; t; t = t->next) {
		if (t->id != m->template_id || !hot_wanted(t))
			continue;
		if (r == 0) {
			add_sample(t, m);
		} else {
			/* one that writes so much has nothing to gain: no more questions */
			if (!t->hot)
				t->hot = calloc(1, sizeof(*t->hot));
			if (t->hot)
				t->hot->samples = HOT_SAMPLES;
		}
		break;
	}
	return 0;
}
