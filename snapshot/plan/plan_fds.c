/* SPDX-License-Identifier: MIT */
/* plan_fds.c - tables of open file descriptions, of descriptors that refer to them, and of what epolls watch */
#include "snapshot/plan/plan_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "snapshot/kinds/fd.h"

static void put_description(struct image *im, const struct model_description *d, struct stub_description *ret)
{
	struct fd_bytes bytes;

	fd_kind_plan(d, ret, &bytes);
	if (!bytes.len)
		return;
	ret->data_len = bytes.len;
	ret->data = image_put(im, bytes.at, bytes.len, 8);
}

void put_descriptions(struct image *im, const struct model *m)
{
	uint64_t table = image_reserve(im, m->ndescriptions * sizeof(struct stub_description), 8);

	for (size_t i = 0; i < m->ndescriptions && !im->failed; i++) {
		struct stub_description d;

		put_description(im, &m->descriptions[i], &d);
		if (!im->failed)
			memcpy(im->v + table + i * sizeof(d), &d, sizeof(d));
	}
	image_set(im, offsetof(struct stub_data, descriptions), table);
	if (!im->failed)
		image_head(im)->ndescriptions = (uint32_t)m->ndescriptions;
}

/* @first: by description the first descriptor of the process that refers to it, -1: none */
static int put_descriptors(struct image *im, const struct model *m, const struct model_fd_table *t,
			   const int32_t *first)
{
	_cleanup_free_ struct stub_fd *list = calloc(t->nfds + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < t->nfds; i++) {
		const struct model_fd *f = &t->fds[i];
		int peer = m->descriptions[f->description].peer;

		list[i] = (struct stub_fd){
			.fd = f->fd,
			.description = (uint32_t)f->description,
			.cloexec = f->cloexec,
			.same = first[f->description] == f->fd ? -1 : first[f->description],
			.peer = peer < 0 ? -1 : first[peer],
		};
	}
	image_set_process(im, offsetof(struct stub_process, fds),
			  image_put(im, list, t->nfds * sizeof(*list), 8));
	if (!im->failed)
		image_process(im)->nfds = (uint32_t)t->nfds;
	return 0;
}

/* @table: index of the process's table */
static int put_epolls(struct image *im, const struct model *m, int table, const int32_t *first)
{
	_cleanup_free_ struct stub_epoll *list = calloc(m->nepolls + 1, sizeof(*list));
	size_t n = 0;

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < m->nepolls; i++) {
		const struct model_epoll *t = &m->epolls[i];

		if (t->fd_table != table)
			continue;
		list[n++] = (struct stub_epoll){
			.epfd = first[t->description],
			.fd = t->fd,
			.process = im->process,
			.epoll = (uint32_t)t->description,
			.target = t->target < 0 ? STUB_NONE : (uint32_t)t->target,
			.events = t->events,
			.data = t->data,
		};
	}
	image_set(im, offsetof(struct stub_data, epolls), image_put(im, list, n * sizeof(*list), 8));
	if (!im->failed)
		image_head(im)->nepolls = (uint32_t)n;
	return 0;
}

int put_fds(struct image *im, const struct model *m, const struct model_process *p)
{
	_cleanup_free_ int32_t *first = calloc(m->ndescriptions + 1, sizeof(*first));
	const struct model_fd_table *t = &m->fd_tables[p->fd_table];
	int r;

	if (!first)
		return -ENOMEM;
	memset(first, 0xff, m->ndescriptions * sizeof(*first));
	for (size_t i = t->nfds; i-- > 0;)
		first[t->fds[i].description] = t->fds[i].fd;
	if (m->ndescriptions > STUB_FDS_IN_LAUNCH)
		image_set_process(im, offsetof(struct stub_process, fd_room),
				  image_reserve(im, m->ndescriptions * sizeof(int32_t), 8));
	r = put_descriptors(im, m, t, first);
	return r < 0 ? r : put_epolls(im, m, p->fd_table, first);
}
