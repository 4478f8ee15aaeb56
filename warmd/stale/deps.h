/* SPDX-License-Identifier: MIT */
/*
 * deps.h - what a template took in from the file system while it was built.
 *
 * The builder adds to a set while the program runs (one call for each path
 * that a system call named), the daemon watches the set and asks it again.
 * Paths are absolute, lexically as the program named them (".." and symbolic
 * links kept): the set resolves each component itself, so that a symbolic
 * link that changes, or a directory that is renamed on the way, counts too.
 */
#ifndef WARM_WARMD_STALE_DEPS_H
#define WARM_WARMD_STALE_DEPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "engine/base/error.h"

enum dep_kind {
	DEP_FILE, /* existed and was read, mapped or looked at: identity and contents count */
	DEP_ABSENT, /* was looked for and not found */
	DEP_LISTING, /* a directory whose names were read: any name that comes or goes counts */
	DEP_MODULES, /* a directory that a language searched for modules: names that can be modules count, dep_set_module_names() */
	DEP_EXISTS, /* a directory or device that was looked at: only that it exists, its type, owner and mode count */
	DEP_INODE, /* held open, and opened again by clones: that this very file is at the path counts, what is in it does not */
};

/* identity and contents of a path as stat(2) tells them */
struct dep_stat {
	uint64_t dev, ino, size;
	int64_t mtime_ns, ctime_ns;
	uint32_t mode, uid, gid;
};

struct dep {
	char *path; /* owned by the set */
	enum dep_kind kind;
	struct dep_stat st; /* all 0 for DEP_ABSENT */
};

struct dep_set;

int dep_set_new(struct dep_set **ret);
void dep_set_free(struct dep_set *set);

/**
 * dep_set_add() - record @path as it is now
 * @set: the set
 * @path: absolute
 * @kind: FILE is turned into ABSENT when the path does not exist, and into
 *	EXISTS when it is a directory or a device. The first record of a path
 *	and kind stands: what the program read first is what counts.
 *	A LISTING on top of a MODULES of the same directory wins, not the reverse.
 *
 * Symbolic links on the way are added as FILE records of their own (lstat identity).
 * What turns out to lie in /proc, /sys or /dev is left out, but not what lies in /dev/shm.
 * Return: 0, -ENOMEM, -EINVAL (not absolute).
 */
int dep_set_add(struct dep_set *set, const char *path, enum dep_kind kind);

/** dep_set_add_link() - as dep_set_add() of a FILE, for a call that does not follow a symbolic link at the end of @path (lstat, readlink, O_NOFOLLOW) */
int dep_set_add_link(struct dep_set *set, const char *path);

/**
 * dep_set_add_opened() - as dep_set_add(), for a file that the program holds open
 * @opened: fstat(2) of the program's descriptor
 *
 * Return: 0, 1 if the path does not lead to that file any more (what the program read
 * cannot be recorded: the template must not be used), or a negative errno.
 */
int dep_set_add_opened(struct dep_set *set, const char *path, enum dep_kind kind, const struct stat *opened);

/**
 * dep_set_forget_absent() - that nothing was found at @path does not count after all
 *
 * For a name that each clone makes itself, by a call that fails where somebody else has made it. Nothing recorded: nothing done.
 * Return: 0 or a negative errno
 */
int dep_set_forget_absent(struct dep_set *set, const char *path);

/*
 * The records' paths are canonical: links on the way are resolved, each being
 * a record of its own. An ABSENT path is canonical as far as it existed.
 */
size_t dep_set_count(const struct dep_set *set);
/** dep_set_get() - one record, valid until the set is changed */
const struct dep *dep_set_get(const struct dep_set *set, size_t i);

/**
 * dep_set_racy() - is one of the records too young to be told from a later change?
 *
 * Kernels without multigrain time stamps (before 6.13, and some file systems
 * later) stamp with the tick: a change within the tick of the read keeps
 * mtime. A record whose ctime is within 20 ms of when it was recorded counts as
 * racy; dep_set_add() notes the time. @ret_path: the path, owned by the set; may be NULL.
 */
bool dep_set_racy(const struct dep_set *set, const char **ret_path);

/** dep_set_check() - stat all again. Return: 0 unchanged, 1 changed (*ret_path, owned by the set, says which), or a negative errno */
int dep_set_check(const struct dep_set *set, const char **ret_path);

/** dep_set_check_one() - the same for record @i; @ret_st: its lstat(2) if it exists, else all 0; may be NULL. Return: 0 unchanged, 1 changed */
int dep_set_check_one(const struct dep_set *set, size_t i, struct stat *ret_st);

/**
 * dep_set_module_names() - which names in a directory can be modules of the program's language
 * @words: separated by single spaces: ends of names (".py"), and with a '!' in front names of directories that are none
 *	("!__pycache__"; "!.": each with a dot in its name). Every other directory can be a module, and no name that begins with a dot can. Copied.
 *
 * The words are data of the set, and go with it to whoever checks it, so that nothing here knows a language. Before they
 * are set every name counts; what was recorded until then as MODULES becomes a LISTING.
 * Return: 0; -EINVAL: longer than 4 KiB; -ENOMEM
 */
int dep_set_module_names(struct dep_set *set, const char *words);
/** dep_set_is_module() - can a directory entry of this name matter to a search for modules? @may_be_dir: it is, or might lead to, a directory */
bool dep_set_is_module(const struct dep_set *set, const char *name, bool may_be_dir);

/** dep_set_pack(), dep_set_unpack() - to bytes and back, for the way from the builder to the daemon; malloc'd, the caller frees; unpack checks every length */
int dep_set_pack(const struct dep_set *set, void **ret_buf, size_t *ret_len);
int dep_set_unpack(const void *buf, size_t len, struct dep_set **ret);

#endif
