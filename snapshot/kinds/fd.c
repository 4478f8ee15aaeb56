/* SPDX-License-Identifier: MIT */
/* fd.c - the table of kinds of open file descriptions, and words for what none of them carries */
#include "snapshot/kinds/fd.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"

static const struct fd_kind *const kinds[] = {
#define STUB_FD_KIND(name, word, maker) [MODEL_FD_##name] = &fd_kind_##name,
#include "engine/stub/fd_kinds.def"
#undef STUB_FD_KIND
};
_Static_assert(ARRAY_SIZE(kinds) == MODEL_FD_KINDS && MODEL_FD_KINDS == (int)STUB_FD_KINDS,
	       "the model and the stub have the same kinds");

int fd_refuse(const struct fd_source *s, const char *what)
{
	return error_set(s->err, EOPNOTSUPP, "process %d has descriptor %d open on %s (%s)", s->pid,
			 s->number, what, s->link);
}

uint64_t fd_info_number(const struct fd_source *s, const char *key, int base)
{
	const char *p = strstr(s->fdinfo, key);

	return p ? strtoull(p + strlen(key), NULL, base) : 0;
}

bool fd_link_is(const struct fd_source *s, const char *prefix)
{
	return strncmp(s->link, prefix, strlen(prefix)) == 0;
}

/* what it is, for the user, who may know a way around it */
static int refuse_unknown(const struct fd_source *s)
{
	if (fd_link_is(s, "anon_inode:inotify"))
		return fd_refuse(s, "an inotify instance");
	if (fd_link_is(s, "anon_inode:[io_uring]"))
		return fd_refuse(s, "an io_uring");
	if (fd_link_is(s, "anon_inode:"))
		return fd_refuse(s, "an object that cannot be made again");
	if (S_ISREG(s->st.st_mode) && fd_link_is(s, "/memfd:"))
		return fd_refuse(s, "a memfd");
	if (S_ISBLK(s->st.st_mode))
		return fd_refuse(s, "a block device");
	return fd_refuse(s, "a kind of file that cannot be made again");
}

int fd_kind_dump(const struct fd_source *s, struct model_description *d)
{
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!kinds[i]->is(s))
			continue;
		d->kind = (enum model_fd_kind)i;
		return kinds[i]->dump(s, d);
	}
	return refuse_unknown(s);
}

int fd_kinds_link(struct model *m, pid_t pid, struct error *err)
{
	const char *refusal = "";

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
		if (kinds[i]->link && kinds[i]->link(m, &refusal) < 0)
			return error_set(err, EOPNOTSUPP, "process %d has %s", pid, refusal);
	return 0;
}

void fd_kind_plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data)
{
	*ret = (struct stub_description){
		.kind = d->kind,
		.flags = d->flags,
		.peer = d->peer < 0 ? STUB_NONE : (uint32_t)d->peer,
		.owner = d->owner < 0 ? STUB_NONE : (uint32_t)d->owner,
		.owner_signo = d->owner_signo,
	};
	*ret_data = (struct fd_bytes){ d->data, d->data_len };
	kinds[d->kind]->plan(d, ret, ret_data);
}
