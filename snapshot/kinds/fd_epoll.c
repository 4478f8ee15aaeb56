/* SPDX-License-Identifier: MIT */
/*
 * fd_epoll.c - epoll(7). What it watches are entries of the model: the kernel tells the number that each was added with
 * (fdinfo's "tfd"), and once all descriptors are known that tells the description.
 */
#include "snapshot/kinds/fd.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "engine/base/array.h"

static bool is(const struct fd_source *s)
{
	return s->dup_of < 0 && strcmp(s->link, "anon_inode:[eventpoll]") == 0;
}

static int dump(const struct fd_source *s, struct model_description *d)
{
	int index = (int)(d - s->model->descriptions);

	for (const char *p = s->fdinfo; (p = strstr(p, "tfd:")); p += 4) {
		struct model_epoll *e,
			t = { .description = index, .fd_table = s->fd_table, .target = MODEL_NONE };

		if (sscanf(p, "tfd: %d events: %x data: %lx", &t.fd, &t.events, &t.data) != 3)
			return fd_refuse(s, "an epoll whose entries cannot be read");
		e = array_append(&s->model->epolls, &s->model->nepolls, sizeof(*e));
		if (!e)
			return -ENOMEM;
		*e = t;
	}
	return 0;
}

/* one that is no descriptor of the program's own is its caller's */
static int link_targets(struct model *m, const char **ret_refusal)
{
	(void)ret_refusal;
	for (size_t i = 0; i < m->nepolls; i++) {
		struct model_epoll *e = &m->epolls[i];
		const struct model_fd_table *t = &m->fd_tables[e->fd_table];

		for (size_t j = 0; j < t->nfds; j++)
			if (t->fds[j].fd == e->fd)
				e->target = t->fds[j].description;
	}
	return 0;
}

static void plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data)
{
	(void)d;
	(void)ret;
	(void)ret_data;
}

const struct fd_kind fd_kind_EPOLL = { is, dump, link_targets, plan };
