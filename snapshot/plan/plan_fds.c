/* SPDX-License-Identifier: MIT */
/* plan_fds.c - tables of open file descriptions, of descriptors that refer to them, and of what epolls watch */
#include "snapshot/plan/plan_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "engine/base/fd.h"

static void put_options(struct image *im, const struct model_description *d, struct stub_description *ret)
{
	ret->data_len = d->socket.noptions * sizeof(struct stub_option);
	ret->data = image_reserve(im, ret->data_len, 8);
	for (size_t i = 0; i < d->socket.noptions && !im->failed; i++) {
		const struct model_option *from = &d->socket.options[i];
		struct stub_option option = { .level = from->level, .name = from->name, .len = from->len };

		memcpy(option.value, from->value, sizeof(option.value));
		memcpy(im->v + ret->data + i * sizeof(option), &option, sizeof(option));
	}
}

/* by kind: engine/stub/fd_kinds.def tells what a, b, c and data are */
static void put_by_kind(struct image *im, const struct model_description *d, struct stub_description *ret)
{
	switch (d->kind) {
	case MODEL_FD_PIPE:
		ret->b = d->pipe.room;
		break;
	case MODEL_FD_SOCKETPAIR:
		ret->a = d->pair.type;
		ret->b = d->pair.shutdown;
		break;
	case MODEL_FD_SOCKET:
		ret->a = d->socket.domain;
		ret->b = d->socket.type;
		ret->c = d->socket.protocol;
		put_options(im, d, ret);
		break;
	case MODEL_FD_EVENTFD:
		ret->a = d->eventfd.count;
		ret->b = d->eventfd.semaphore ? EFD_SEMAPHORE : 0;
		break;
	case MODEL_FD_EPOLL:
		break;
	case MODEL_FD_TIMERFD:
		ret->a = d->timerfd.clock;
		ret->b = d->timerfd.value_ns;
		ret->c = d->timerfd.interval_ns;
		break;
	case MODEL_FD_SIGNALFD:
		ret->a = d->signalfd.mask;
		break;
	case MODEL_FD_PATH:
		ret->data_len = strlen(d->path.path) + 1;
		ret->data = image_put(im, d->path.path, ret->data_len, 8);
		ret->b = d->path.offset;
		break;
	case MODEL_FD_TTY:
		ret->a = d->outside.of == MODEL_DEV_TTY ? UINT64_MAX : (uint64_t)d->outside.of;
		break;
	case MODEL_FD_CALLER:
		ret->a = (uint64_t)d->outside.of;
		break;
	case MODEL_FD_KINDS:
		break;
	}
}

static void put_description(struct image *im, const struct model_description *d, struct stub_description *ret)
{
	*ret = (struct stub_description){
		.kind = d->kind,
		.flags = d->flags,
		.peer = d->peer < 0 ? STUB_NONE : (uint32_t)d->peer,
		.owner = (uint32_t)d->owner,
		.owner_signo = d->owner_signo,
	};
	put_by_kind(im, d, ret);
	if (d->data_len) {
		ret->data_len = d->data_len;
		ret->data = image_put(im, d->data, d->data_len, 8);
	}
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
