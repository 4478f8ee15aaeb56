/* SPDX-License-Identifier: MIT */
/* fuzz_deps.c - dependency sets as a build reports them: what is taken must pack to the same bytes again */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "warmd/stale/deps.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int truth)
{
	if (!truth)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct dep_set *set = NULL, *again = NULL;
	const char *path;
	void *bytes, *second;
	size_t len, second_len;

	if (dep_set_unpack(data, size, &set) < 0) {
		expect(!set);
		return 0;
	}
	for (size_t i = 0; i < dep_set_count(set); i++)
		expect(dep_set_get(set, i)->path[0] == '/' && dep_set_get(set, i)->kind <= DEP_INODE);
	dep_set_racy(set, &path);
	expect(dep_set_pack(set, &bytes, &len) == 0);
	expect(dep_set_unpack(bytes, len, &again) == 0);
	expect(dep_set_count(again) == dep_set_count(set));
	expect(dep_set_pack(again, &second, &second_len) == 0);
	expect(len == second_len && memcmp(bytes, second, len) == 0);
	free(bytes);
	free(second);
	dep_set_free(set);
	dep_set_free(again);
	return 0;
}
