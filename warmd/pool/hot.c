/* SPDX-License-Identifier: MIT */
#include "warmd/pool/hot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "engine/stub/image.h"
#include "snapshot/plan/plan.h"
#include "warmd/pool/pool.h"
#include "warmd/template/store.h"

_Static_assert(sizeof(struct wire_range) == sizeof(struct stub_range),
	       "the wire carries what the stub takes");
_Static_assert(WIRE_LEARN_RANGES == STUB_HOT_RANGES, "as many as there is room for");

_Static_assert(WIRE_LEARN_SAME == 0 && WIRE_LEARN_ARGUMENTS == 1 && WIRE_LEARN_ENVIRONMENT == 2,
	       "as stub_learn_kind() has them");

struct sampled {
	struct wire_range
		*ranges; /* what all samples so far have: written ones, then those that were only read */
	size_t n;
	unsigned int samples;
};

struct hot {
	struct sampled kinds[WIRE_LEARN_KINDS];
};

void hot_free(struct hot *h)
{
	if (!h)
		return;
	for (unsigned int i = 0; i < WIRE_LEARN_KINDS; i++)
		free(h->kinds[i].ranges);
	free(h);
}

uint32_t hot_wanted(const struct template *t)
{
	uint32_t kinds = 0;

	if (t->state != TEMPLATE_READY)
		return 0;
	for (unsigned int i = 0; i < WIRE_LEARN_KINDS; i++)
		if (!t->hot || t->hot->kinds[i].samples < HOT_SAMPLES)
			kinds |= 1u << i;
	return kinds;
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

/*
 * What either of two lists of one kind has; @nout is room for both. Neighbours are not joined: a range that was
 * read ends with its mapping. Return: how many ranges are in @out
 */
static size_t unite(const struct wire_range *a, size_t na, const struct wire_range *b, size_t nb,
		    struct wire_range *out)
{
	size_t n = 0;

	for (size_t i = 0, j = 0; i < na || j < nb;) {
		struct wire_range r = j == nb || (i < na && a[i].addr <= b[j].addr) ? a[i++] : b[j++];

		if (n && r.addr < end_of(&out[n - 1])) {
			if (end_of(&r) > end_of(&out[n - 1]))
				out[n - 1].len = (end_of(&r) - out[n - 1].addr) | (r.len & STUB_HOT_READ);
		} else {
			out[n++] = r;
		}
	}
	return n;
}

static uint64_t written_bytes(const struct wire_range *r, size_t n)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < n && !(r[i].len & STUB_HOT_READ); i++)
		sum += r[i].len;
	return sum;
}

/* of all kinds. A kind that would make it too much is left out. Return: how many ranges are in @out, or a negative errno */
static ssize_t all_kinds(const struct hot *h, struct wire_range out[static 2 * WIRE_LEARN_RANGES])
{
	struct wire_range *both = calloc(2 * WIRE_LEARN_RANGES, sizeof(*both));
	size_t n = 0;

	if (!both)
		return -ENOMEM;
	for (unsigned int i = 0; i < WIRE_LEARN_KINDS; i++) {
		const struct sampled *k = &h->kinds[i];
		size_t ow = count_written(out, n), kw = count_written(k->ranges, k->n), w, sum;

		w = unite(out, ow, k->ranges, kw, both);
		sum = w + unite(out + ow, n - ow, k->ranges + kw, k->n - kw, both + w);
		if (sum > WIRE_LEARN_RANGES || written_bytes(both, sum) > HOT_BYTES_MAX)
			continue;
		memcpy(out, both, sum * sizeof(*both));
		n = sum;
	}
	free(both);
	return (ssize_t)n;
}

static int check(const struct wire_learn *m, size_t len)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), end = 0, sum = 0, kind = 0;

	if (len < sizeof(*m) || m->count > WIRE_LEARN_RANGES || m->kind >= WIRE_LEARN_KINDS ||
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
static int new_control(const struct template *t, const struct wire_range *ranges, size_t nranges)
{
	_cleanup_close_ int fd = plan_memfd("warm-control", NULL);
	uint64_t text = t->result->text_size;
	struct stub_process root;
	struct stub_data head;
	struct stat st;
	off_t from = 0;
	uint32_t n = (uint32_t)nranges;
	int r;

	if (fd < 0)
		return fd;
	if (fstat(t->fds[0], &st) < 0 || ftruncate(fd, st.st_size) < 0)
		return -errno;
	r = pread_full(t->fds[0], &head, sizeof(head), (off_t)text);
	if (r == 0)
		r = pread_full(t->fds[0], &root, sizeof(root), (off_t)(text + head.processes));
	if (r < 0 || n > root.hot_room)
		return r < 0 ? r : -E2BIG;
	while (from < st.st_size) {
		ssize_t copied = copy_file_range(t->fds[0], &from, fd, NULL, (size_t)(st.st_size - from), 0);

		if (copied <= 0)
			return copied < 0 ? -errno : -EIO;
	}
	r = pwrite_full(fd, ranges, n * sizeof(ranges[0]), (off_t)(text + root.hot));
	if (r == 0)
		r = pwrite_full(fd, &n, sizeof(n),
				(off_t)(text + head.processes + offsetof(struct stub_process, nhot)));
	if (r == 0)
		r = plan_seal(fd, NULL);
	return r < 0 ? r : TAKE_FD(fd);
}

/* Return: 0, or -ENOMEM with @k as it was */
static int add_sample(struct sampled *k, const struct wire_learn *m)
{
	struct wire_range *both = calloc(WIRE_LEARN_RANGES, sizeof(*both));

	if (!both)
		return -ENOMEM;
	if (k->samples) {
		size_t kw = count_written(k->ranges, k->n), mw = count_written(m->ranges, m->count), n;

		n = intersect(k->ranges, kw, m->ranges, mw, both, WIRE_LEARN_RANGES);
		k->n = n + intersect(k->ranges + kw, k->n - kw, m->ranges + mw, m->count - mw, both + n,
				     WIRE_LEARN_RANGES - n);
	} else {
		memcpy(both, m->ranges, m->count * sizeof(*both));
		k->n = m->count;
	}
	free(k->ranges);
	k->ranges = both;
	k->samples++;
	return 0;
}

static void take_sample(struct template *t, const struct wire_learn *m)
{
	struct wire_range *all = calloc(2 * WIRE_LEARN_RANGES, sizeof(*all));
	ssize_t n = all ? add_sample(&t->hot->kinds[m->kind], m) : -ENOMEM;
	int fd;

	if (n == 0)
		n = all_kinds(t->hot, all);
	fd = n < 0 ? (int)n : new_control(t, all, (size_t)n);
	free(all);
	if (fd < 0) {
		log_warning("template '%s': pages that clones write: %s", t->label, strerror(-fd));
		return;
	}
	fd_close(t->fds[0]);
	t->fds[0] = fd;
	/* the second only shortens the list */
	if (t->pool)
		pool_new_hot(t->pool, t->hot->kinds[m->kind].samples == 1 ||
					      t->hot->kinds[m->kind].samples == HOT_SAMPLES);
	log_debug("template '%s': %zd ranges are made ahead after %u clones of kind %u", t->label, n,
		  t->hot->kinds[m->kind].samples, m->kind);
}

int hot_take(struct store *s, const void *packet, size_t len)
{
	const struct wire_learn *m = packet;
	int r = check(m, len);

	if (r == -EBADMSG)
		return r;
	for (struct template *t = s->list; t; t = t->next) {
		if (t->learn_key != m->learn_key || !(hot_wanted(t) >> m->kind & 1))
			continue;
		if (!t->hot)
			t->hot = calloc(1, sizeof(*t->hot));
		if (!t->hot)
			break;
		if (r == 0)
			take_sample(t, m);
		else /* one that writes so much has nothing to gain: no more questions */
			t->hot->kinds[m->kind].samples = HOT_SAMPLES;
		break;
	}
	return 0;
}
