/* SPDX-License-Identifier: MIT */
/* deps_modules.c - which names in a directory can be modules, by the words of the program's language */
#include "warmd/stale/deps_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int dep_set_module_names(struct dep_set *set, const char *words)
{
	char *copy;

	if (set->module_names && strcmp(set->module_names, words) == 0)
		return 0;
	if (strlen(words) > DEP_MODULE_NAMES_MAX)
		return -EINVAL;
	copy = strdup(words);
	if (!copy)
		return -ENOMEM;
	/* their names were summed up by another rule */
	for (size_t i = 0; i < set->count; i++)
		if (set->items[i].dep.kind == DEP_MODULES)
			set->items[i].dep.kind = DEP_LISTING;
	free(set->module_names);
	set->module_names = copy;
	return 0;
}

/* does the name end in the word, with something in front? */
static bool ends_in(const char *name, const char *word, size_t len)
{
	size_t n = strlen(name);

	return n > len && memcmp(name + n - len, word, len) == 0;
}

bool dep_set_is_module(const struct dep_set *set, const char *name, bool may_be_dir)
{
	size_t len;

	if (!set->module_names)
		return true;
	if (name[0] == '.')
		return false;
	for (const char *word = set->module_names; *word; word += len + (word[len] == ' ')) {
		len = strcspn(word, " ");
		if (len == 2 && memcmp(word, "!.", 2) == 0)
			may_be_dir &= !strchr(name, '.');
		else if (word[0] == '!')
			may_be_dir &= strlen(name) != len - 1 || memcmp(name, word + 1, len - 1) != 0;
		else if (len && ends_in(name, word, len))
			return true;
	}
	return may_be_dir;
}
