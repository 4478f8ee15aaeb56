/* SPDX-License-Identifier: MIT */
/*
 * The bytes of a dependency set: a head, the words of dep_set_module_names(), then each record's fixed part with its
 * path behind it, unaligned, in host order (both ends are one program on one machine).
 */
#include "warmd/stale/deps_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"

#define PACK_MAGIC   0x53504544u /* "DEPS" */
#define PACK_VERSION 2

struct pack_head {
	uint32_t magic, version;
	uint64_t count;
	uint64_t names_len; /* 0: no words */
};

struct pack_item {
	uint32_t kind, path_len;
	struct dep_stat st;
	int64_t recorded_ns;
	uint64_t names_all, names_modules;
};

int dep_set_pack(const struct dep_set *set, void **ret_buf, size_t *ret_len)
{
	size_t names_len = set->module_names ? strlen(set->module_names) : 0;
	struct pack_head head = { PACK_MAGIC, PACK_VERSION, set->count, names_len };
	size_t len = sizeof(head) + names_len;
	char *buf, *p;

	for (size_t i = 0; i < set->count; i++)
		len += sizeof(struct pack_item) + strlen(set->items[i].dep.path);
	buf = malloc(len);
	if (!buf)
		return -ENOMEM;
	memcpy(buf, &head, sizeof(head));
	if (names_len)
		memcpy(buf + sizeof(head), set->module_names, names_len);
	p = buf + sizeof(head) + names_len;
	for (size_t i = 0; i < set->count; i++) {
		const struct dep_item *item = &set->items[i];
		struct pack_item fixed;

		memset(&fixed, 0, sizeof(fixed)); /* padding too */
		fixed.kind = item->dep.kind;
		fixed.path_len = (uint32_t)strlen(item->dep.path);
		memcpy(&fixed.st, &item->dep.st, sizeof(fixed.st));
		fixed.recorded_ns = item->recorded_ns;
		fixed.names_all = item->names_all;
		fixed.names_modules = item->names_modules;
		memcpy(p, &fixed, sizeof(fixed));
		memcpy(p + sizeof(fixed), item->dep.path, fixed.path_len);
		p += sizeof(fixed) + fixed.path_len;
	}
	*ret_buf = buf;
	*ret_len = len;
	return 0;
}

/* one record from *p, which is moved behind it */
static int unpack_item(struct dep_set *set, const char **p, const char *end)
{
	struct pack_item fixed;
	struct dep_item item = { 0 };
	int r;

	if ((size_t)(end - *p) < sizeof(fixed))
		return -EBADMSG;
	memcpy(&fixed, *p, sizeof(fixed));
	*p += sizeof(fixed);
	if (fixed.kind > DEP_INODE || fixed.path_len == 0 || fixed.path_len >= DEP_PATH_MAX ||
	    fixed.path_len > (size_t)(end - *p) || **p != '/' || memchr(*p, '\0', fixed.path_len))
		return -EBADMSG;
	item.dep.kind = (enum dep_kind)fixed.kind;
	item.dep.st = fixed.st;
	item.recorded_ns = fixed.recorded_ns;
	item.names_all = fixed.names_all;
	item.names_modules = fixed.names_modules;
	item.dep.path = strndup(*p, fixed.path_len);
	if (!item.dep.path)
		return -ENOMEM;
	*p += fixed.path_len;
	r = dep_set_append(set, &item);
	if (r < 0)
		free(item.dep.path);
	return r == -EEXIST ? -EBADMSG : r;
}

/* the words, before any record */
static int unpack_names(struct dep_set *set, const char **p, const char *end, uint64_t len)
{
	char words[DEP_MODULE_NAMES_MAX + 1];

	if (!len)
		return 0;
	if (len > DEP_MODULE_NAMES_MAX || len > (size_t)(end - *p) || memchr(*p, '\0', len))
		return -EBADMSG;
	memcpy(words, *p, len);
	words[len] = '\0';
	*p += len;
	return dep_set_module_names(set, words);
}

int dep_set_unpack(const void *buf, size_t len, struct dep_set **ret)
{
	const char *p = buf, *end = p + len;
	struct pack_head head;
	struct dep_set *set;
	int r;

	if (len < sizeof(head))
		return -EBADMSG;
	memcpy(&head, p, sizeof(head));
	p += sizeof(head);
	if (head.magic != PACK_MAGIC || head.version != PACK_VERSION)
		return -EBADMSG;
	r = dep_set_new(&set);
	if (r < 0)
		return r;
	r = unpack_names(set, &p, end, head.names_len);
	for (uint64_t i = 0; r == 0 && i < head.count; i++)
		r = unpack_item(set, &p, end);
	if (r == 0 && p != end)
		r = -EBADMSG;
	if (r < 0) {
		dep_set_free(set);
		return r;
	}
	*ret = set;
	return 0;
}
