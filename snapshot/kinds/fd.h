/* SPDX-License-Identifier: MIT */
/*
 * fd.h - kinds of open file descriptions: pipes, sockets, files and the like. fd_NAME.c has all that the dump and the plan
 * know of one kind; engine/stub/fd_kinds.def lists them.
 *
 *	descriptor of a stopped process ── is(), dump() ──► struct model_description
 *	all descriptions of a model ── link() ──► ends of pipes and pairs know each other, epolls what they watch
 *	struct model_description ── plan() ──► struct stub_description
 *
 * A description is looked at through a descriptor that this process has for the same open file (pidfd_getfd(2)) and through
 * what /proc says of it, so nothing here needs a tracer. plan() is pure.
 *
 * A new kind is a file here and a line of fd_kinds.def, which names the function that makes one in a clone (engine/stub/).
 * If it has numbers of its own it is also a member of the union in struct model_description, with its message in
 * snapshot/image/model.proto.
 */
#ifndef WARM_SNAPSHOT_KINDS_FD_H
#define WARM_SNAPSHOT_KINDS_FD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "engine/base/error.h"
#include "engine/stub/image.h"
#include "snapshot/model/model.h"

/* a descriptor whose description is to be dumped. All of it is the dump's */
struct fd_source {
	struct model *model; /* that the description is added to */
	pid_t pid; /* of the process that has it */
	int fd_table; /* index of its table in the model */
	int number; /* in that table */
	int fd; /* in this process, for the same open file; -EBADF for a dup of one of the caller's */
	struct stat st; /* of @fd */
	const char *link; /* what /proc/PID/fd/NUMBER says that it is */
	const char *fdinfo; /* /proc/PID/fdinfo/NUMBER: proc_pid_fdinfo(5) */
	uint64_t terminal; /* device number of the stand-in for the caller's terminal; 0: none */
	int terminal_of; /* the caller's descriptor that is open on it */
	int dup_of; /* the caller's descriptor that has the same description; -1: none */
	int same_as; /* the caller's descriptor that is the same pipe or file, opened by another; -1: none */
	struct error *err;
};

/* bytes that go with a struct stub_description: its data, data_len */
struct fd_bytes {
	const void *at; /* in the model; NULL: none */
	size_t len;
};

struct fd_kind {
	/* Is it of this kind? They are asked in the order of fd_kinds.def; the first that says yes has it */
	bool (*is)(const struct fd_source *s);
	/*
	 * Fill in the kind's own fields. @d has its kind, flags (F_GETFL), owner, and no peer. What it allocates is model_free()'s
	 * Return: 0; -EOPNOTSUPP with words (fd_refuse()); -ENOMEM; another negative errno
	 */
	int (*dump)(const struct fd_source *s, struct model_description *d);
	/*
	 * All descriptions are there: find what they refer to. NULL: nothing
	 * Return: 0; -EOPNOTSUPP with *@ret_refusal set: words of what process @pid has
	 */
	int (*link)(struct model *m, const char **ret_refusal);
	/* Fill in a, b and c of @ret, which has its kind, flags, peer and owner, and what is queued as its data */
	void (*plan)(const struct model_description *d, struct stub_description *ret,
		     struct fd_bytes *ret_data);
};

#define STUB_FD_KIND(name, word, maker) extern const struct fd_kind fd_kind_##name;
#include "engine/stub/fd_kinds.def"
#undef STUB_FD_KIND

/**
 * fd_kind_dump() - the model of the description behind a descriptor
 * @d: a new one, of zeros but for flags, owner and peer
 * Return: 0; -EOPNOTSUPP with words in s->err: no kind is able to carry it; -ENOMEM; another negative errno
 */
int fd_kind_dump(const struct fd_source *s, struct model_description *d);

/** fd_kinds_link() - once all descriptors of process @pid are dumped. Return: 0; -EOPNOTSUPP with words */
int fd_kinds_link(struct model *m, pid_t pid, struct error *err);

/** fd_kind_plan() - how the stub is told of a description; @ret's data is left to the caller, who puts @ret_data somewhere */
void fd_kind_plan(const struct model_description *d, struct stub_description *ret, struct fd_bytes *ret_data);

/* --- for the kinds ------------------------------------------------------------------- */

/** fd_refuse() - "process 7 has descriptor 3 open on @what (link)". Return: -EOPNOTSUPP */
int fd_refuse(const struct fd_source *s, const char *what);
/** fd_info_number() - the number behind @key in fdinfo; 0: it has none */
uint64_t fd_info_number(const struct fd_source *s, const char *key, int base);
/** fd_link_is() - does the link begin so? */
bool fd_link_is(const struct fd_source *s, const char *prefix);

#endif
