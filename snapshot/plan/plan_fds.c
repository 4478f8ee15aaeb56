/* SPDX-License-Identifier: MIT */
/* plan_fds.c - tables of open file descriptions, of descriptors that refer to them, and of what epolls watch */
#include "snapshot/plan/plan_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"

static void put_description(struct image *im, const struct record_description *d,
			    struct stub_description *ret)
{
	*ret = (struct stub_description){
		.kind = d->kind,
		.flags = d->flags,
		.peer = d->peer < 0 ? STUB_NONE : (uint32_t)d->peer,
		.owner_signo = d->owner_signo,
		.a = d->a,
		.b = d->b,
		.c = d->c,
	};
	if (d->kind == STUB_FD_PATH) {
		ret->data_len = strlen(d->path) + 1;
		ret->data = image_put(im, d->path, ret->data_len, 8);
		ret->b = d->offset;
	} else if (d->data_len) {
		ret->data_len = d->data_len;
		ret->data = image_put(im, d->data, d->data_len, 8);
	}
}

void put_descriptions(struct image *im, const struct record *rec)
{
	uint64_t table = image_reserve(im, rec->ndescriptions * sizeof(struct stub_description), 8);

	for (size_t i = 0; i < rec->ndescriptions && !im->failed; i++) {
		struct stub_description d;

		put_description(im, &rec->descriptions[i], &d);
		if (!im->failed)
			memcpy(im->v + table + i * sizeof(d), &d, sizeof(d));
	}
	image_set(im, offsetof(struct stub_data, descriptions), table);
	if (!im->failed)
		image_head(im)->ndescriptions = (uint32_t)rec->ndescriptions;
}

/* @first: by description the first descriptor of the process that refers to it, -1: none */
static int put_descriptors(struct image *im, const struct record *rec, const struct record_process *p,
			   const int32_t *first)
{
	_cleanup_free_ struct stub_fd *list = calloc(p->nfds + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < p->nfds; i++) {
		const struct record_fd *f = &p->fds[i];
		int peer = rec->descriptions[f->description].peer;

		list[i] = (struct stub_fd){
			.fd = f->fd,
			.description = (uint32_t)f->description,
			.cloexec = f->cloexec,
			.same = first[f->description] == f->fd ? -1 : first[f->description],
			.peer = peer < 0 ? -1 : first[peer],
		};
	}
	image_set_process(im, offsetof(struct stub_process, fds),
			  image_put(im, list, p->nfds * sizeof(*list), 8));
	if (!im->failed)
		image_process(im)->nfds = (uint32_t)p->nfds;
	return 0;
}

/* a target that is no descriptor of the program's own is its caller's */
static uint32_t target_of(const struct record_process *p, int fd)
{
	for (size_t i = 0; i < p->nfds; i++)
		if (p->fds[i].fd == fd)
			return (uint32_t)p->fds[i].description;
	return STUB_NONE;
}

static int put_epolls(struct image *im, const struct record *rec, const struct record_process *p,
		      const int32_t *first)
{
	_cleanup_free_ struct stub_epoll *list = calloc(rec->nepolls + 1, sizeof(*list));

	if (!list)
		return -ENOMEM;
	for (size_t i = 0; i < rec->nepolls; i++) {
		const struct record_epoll_target *t = &rec->epolls[i];

		list[i] = (struct stub_epoll){
			.epfd = first[t->description],
			.fd = t->fd,
			.process = im->process,
			.epoll = (uint32_t)t->description,
			.target = target_of(p, t->fd),
			.events = t->events,
			.data = t->data,
		};
	}
	image_set(im, offsetof(struct stub_data, epolls),
		  image_put(im, list, rec->nepolls * sizeof(*list), 8));
	if (!im->failed)
		image_head(im)->nepolls = (uint32_t)rec->nepolls;
	return 0;
}

int put_fds(struct image *im, const struct record *rec, const struct record_process *p)
{
	_cleanup_free_ int32_t *first = calloc(rec->ndescriptions + 1, sizeof(*first));
	int r;

	if (!first)
		return -ENOMEM;
	memset(first, 0xff, rec->ndescriptions * sizeof(*first));
	for (size_t i = p->nfds; i-- > 0;)
		first[p->fds[i].description] = p->fds[i].fd;
	if (rec->ndescriptions > STUB_FDS_IN_LAUNCH)
		image_set_process(im, offsetof(struct stub_process, fd_room),
				  image_reserve(im, rec->ndescriptions * sizeof(int32_t), 8));
	r = put_descriptors(im, rec, p, first);
	return r < 0 ? r : put_epolls(im, rec, p, first);
}
