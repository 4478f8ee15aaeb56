/* SPDX-License-Identifier: MIT */
/*
 * Theory of operation
 *
 * A path is walked component by component with lstat(2). Every symbolic link
 * met becomes a FILE record of its own, with the link's identity; what is left
 * at the end is a canonical path, and that is what gets recorded. So each
 * record can be checked by one lstat(2), and no record depends on another:
 * /lib/x.so is {FILE /lib (the link), FILE /usr/lib/x.so}.
 *
 * Where the walk ends early (a component is missing, is no directory or may
 * not be searched) the canonical part with the rest as it was named becomes
 * an ABSENT record: the lstat(2) of it fails now and must fail then.
 *
 * Directories of which names count carry hashes over their names. A check
 * reads the names only if the directory's mtime differs, so that a bytecode cache
 * written beside a module does not make the module's directory stale.
 */
#include "warmd/stale/deps_internal.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/clock.h"

#define LINKS_MAX 40 /* as the kernel's MAXSYMLINKS: more is ELOOP */

static int walk_push(struct dep_walk *w, const char *name, size_t len)
{
	size_t slash = w->real_len > 1;

	if (w->real_len + slash + len >= sizeof(w->real))
		return -ENAMETOOLONG;
	if (slash)
		w->real[w->real_len] = '/';
	memcpy(w->real + w->real_len + slash, name, len);
	w->real_len += slash + len;
	w->real[w->real_len] = '\0';
	return 0;
}

static void walk_pop(struct dep_walk *w)
{
	while (w->real_len > 1 && w->real[w->real_len - 1] != '/')
		w->real_len--;
	if (w->real_len > 1)
		w->real_len--;
	w->real[w->real_len] = '\0';
}

/* the walk ends before its end: keep the rest as it was named (it begins with a slash, or is empty) */
static int walk_absent(struct dep_walk *w, const char *rest)
{
	size_t len = strlen(rest);

	w->exists = false;
	if (w->real_len + len >= sizeof(w->real))
		return -ENAMETOOLONG;
	memcpy(w->real + w->real_len, rest, len + 1);
	w->real_len += len;
	return 0;
}

/* real is a link: continue with its target in its place */
static int walk_link(struct dep_walk *w, const char *rest)
{
	char target[PATH_MAX], joined[DEP_PATH_MAX];
	ssize_t n = readlink(w->real, target, sizeof(target) - 1);
	int len;

	if (n < 0)
		return walk_absent(w, rest);
	target[n] = '\0';
	len = snprintf(joined, sizeof(joined), "%s%s", target, rest);
	if (len < 0 || (size_t)len >= sizeof(joined))
		return -ENAMETOOLONG;
	memcpy(w->rest, joined, (size_t)len + 1);
	if (target[0] == '/') {
		w->real_len = 1;
		w->real[1] = '\0';
	} else {
		walk_pop(w);
	}
	return 1;
}

static void walk_begin(struct dep_walk *w, const char *path)
{
	w->at_ns = (int64_t)clock_ns(CLOCK_REALTIME);
	w->exists = true;
	strcpy(w->real, "/");
	w->real_len = 1;
	strcpy(w->rest, path);
}

/* where the walk goes on. Return: 1: at *@p; 0: it has ended; or a negative errno */
static int walk_step(struct dep_set *set, const char **p, bool nofollow, bool links, unsigned int *nlinks,
		     struct dep_walk *w)
{
	size_t len = strcspn(*p, "/");
	int r;

	if (len == 1 && (*p)[0] == '.') {
		*p += len;
		return 1;
	}
	if (len == 2 && (*p)[0] == '.' && (*p)[1] == '.') {
		walk_pop(w);
		*p += len;
		return 1;
	}
	r = walk_push(w, *p, len);
	if (r < 0)
		return r;
	*p += len;
	if (map_has(&set->directories, w->real, w->real_len))
		return 1;
	if (lstat(w->real, &w->st) < 0)
		return walk_absent(w, *p);
	if (S_ISDIR(w->st.st_mode))
		return map_put(&set->directories, w->real, w->real_len, NULL) < 0 ? -ENOMEM : 1;
	/* ENOTDIR, also for a mere slash at the end */
	if (!S_ISLNK(w->st.st_mode))
		return (*p)[0] == '\0' ? 0 : walk_absent(w, *p);
	if ((*p)[0] == '\0' && nofollow)
		return 0;
	if (links) {
		r = dep_set_record(set, w->real, DEP_FILE, &w->st, w->at_ns);
		if (r < 0)
			return r;
	}
	if (++*nlinks > LINKS_MAX) /* the slash makes lstat(2) fail with ELOOP too */
		return walk_absent(w, (*p)[0] ? *p : "/");
	r = walk_link(w, *p);
	*p = w->rest;
	return r;
}

int dep_walk(struct dep_set *set, const char *path, bool nofollow, bool links, struct dep_walk *w)
{
	unsigned int nlinks = 0;
	const char *p = w->rest;
	int r;

	if (strlen(path) >= sizeof(w->rest))
		return -ENAMETOOLONG;
	walk_begin(w, path);
	for (;;) {
		p += strspn(p, "/");
		if (!*p)
			break;
		r = walk_step(set, &p, nofollow, links, &nlinks, w);
		if (r <= 0)
			return r;
	}
	/* a directory */
	if (lstat(w->real, &w->st) < 0)
		return walk_absent(w, "");
	return 0;
}
