/* SPDX-License-Identifier: MIT */
/* the folder of kept templates, its entries, and what they depend on; no image is needed for that */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "tests/unit/scratch.h"
#include "warmd/keep/keep.h"

static struct error err;
static struct config config;

static int setup(void **state)
{
	(void)state;
	config_defaults(&config);
	memset(&err, 0, sizeof(err));
	return scratch_make();
}

static int teardown(void **state)
{
	(void)state;
	return scratch_remove();
}

static struct request *a_request(const char *name)
{
	char packet[sizeof(struct wire_run) + 256] = { 0 }, *at = packet + sizeof(struct wire_run);
	struct wire_run *run = (struct wire_run *)packet;
	const char *const strings[] = { name, "", "/", "/bin/true", "A=b" };
	struct request *req = NULL;

	for (size_t i = 0; i < ARRAY_SIZE(strings); i++)
		at = stpcpy(at, strings[i]) + 1;
	run->header = (struct wire_header){ .magic = WIRE_MAGIC,
					    .version = WIRE_VERSION_NUMBER,
					    .type = WIRE_RUN,
					    .size = (uint32_t)(at - packet) };
	run->argc = run->envc = 1;
	run->strings_size = run->header.size - (uint32_t)sizeof(*run);
	assert_int_equal(request_parse(packet, run->header.size, &req, NULL), 0);
	return req;
}

static Warm__Kept *a_kept(const char *name)
{
	Warm__BuildResult result = WARM__BUILD_RESULT__INIT;
	struct request *req = a_request(name);
	Warm__Kept *kept = NULL;

	result.sealed_bytes = 4096;
	result.dependencies.data = (uint8_t *)"deps";
	result.dependencies.len = 4;
	assert_int_equal(keep_entry_make(req, &result, 11, 12, &config, &kept), 0);
	request_free(req);
	return kept;
}

/* an entry and a folder that stands for its image, of @kib */
static void keep_one(int folder, const char *id, unsigned int kib, uint64_t used_ns)
{
	_cleanup_free_ char *bytes = calloc(kib, 1024);
	Warm__Kept *kept = a_kept(id);
	int image, fd;

	memset(bytes, 'x', kib * 1024);
	assert_int_equal(mkdirat(folder, id, 0700), 0);
	image = openat(folder, id, O_RDONLY | O_DIRECTORY);
	fd = openat(image, "manifest.pb", O_WRONLY | O_CREAT, 0600);
	/* as an image's begins */
	assert_int_equal(write_full(fd, "\x0dWIMG", 5), 0);
	close(fd);
	fd = openat(image, "pages-1.img", O_WRONLY | O_CREAT, 0600);
	assert_int_equal(write_full(fd, bytes, kib * 1024), 0);
	fsync(fd);
	close(fd);
	close(image);
	assert_int_equal(keep_entry_write(folder, id, kept), 0);
	keep_folder_used(folder, id, used_ns);
	keep_entry_free(kept);
}

static void where_it_is(void **state)
{
	char path[PATH_MAX];

	(void)state;
	setenv("HOME", "/home/x", 1);
	unsetenv("XDG_CACHE_HOME");
	unsetenv("WARM_CACHE_DIR");
	assert_int_equal(keep_folder_path(path, &err), 0);
	assert_string_equal(path, "/home/x/.cache/warm");
	setenv("XDG_CACHE_HOME", "relative", 1);
	assert_int_equal(keep_folder_path(path, &err), 0);
	assert_string_equal(path, "/home/x/.cache/warm");
	setenv("XDG_CACHE_HOME", "/c", 1);
	assert_int_equal(keep_folder_path(path, &err), 0);
	assert_string_equal(path, "/c/warm");
	setenv("WARM_CACHE_DIR", "/own//", 1);
	assert_int_equal(keep_folder_path(path, &err), 0);
	assert_string_equal(path, "/own");
	unsetenv("WARM_CACHE_DIR");
	unsetenv("XDG_CACHE_HOME");
	unsetenv("HOME");
	assert_int_equal(keep_folder_path(path, &err), -ENOENT);
}

static unsigned int mode_of(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return st.st_mode & 07777;
}

static void whose_it_is(void **state)
{
	char path[PATH_MAX + 16];
	int fd;

	(void)state;
	snprintf(path, sizeof(path), "%s/a/b/warm", root);
	assert_int_equal(keep_folder_open(path, false, &err), -ENOENT);
	fd = keep_folder_open(path, true, &err);
	assert_true(fd >= 0);
	assert_int_equal(mode_of(fd), 0700);
	/* one that others can read is closed to them, one that they can write to is not used */
	assert_int_equal(fchmod(fd, 0755), 0);
	close(fd);
	fd = keep_folder_open(path, false, &err);
	assert_true(fd >= 0);
	assert_int_equal(mode_of(fd), 0700);
	assert_int_equal(fchmod(fd, 0777), 0);
	close(fd);
	assert_int_equal(keep_folder_open(path, true, &err), -EACCES);
	assert_non_null(strstr(err.text, "others may write"));
	chmod(path, 0700);
	assert_int_equal(symlink(path, at("link")), 0);
	assert_int_equal(keep_folder_open(at("link"), true, &err), -ELOOP);
	if (geteuid() == 0) {
		assert_int_equal(chown(path, 12345, 12345), 0);
		assert_int_equal(keep_folder_open(path, true, &err), -EACCES);
		assert_non_null(strstr(err.text, "12345"));
	}
}

static void entries(void **state)
{
	int folder = keep_folder_open(root, true, &err);
	Warm__Kept *kept = a_kept("n"), *again = NULL;
	struct request *req = NULL;
	uint8_t *bytes;
	size_t size;

	(void)state;
	assert_int_equal(keep_entry_pack(kept, &bytes, &size), 0);
	assert_int_equal(keep_entry_unpack(bytes, size, &again), 0);
	assert_int_equal(again->created_ns, 11);
	assert_int_equal(again->build_ns, 12);
	assert_int_equal(again->result->dependencies.len, 4);
	assert_int_equal(keep_entry_request(again, &req), 0);
	assert_string_equal(req->name, "n");
	assert_string_equal(req->argv[0], "/bin/true");
	request_free(req);
	keep_entry_free(again);
	/* each bit counts, and each length */
	for (size_t i = 0; i < size; i++) {
		bytes[i] ^= (uint8_t)(1u << (i % 8));
		assert_int_equal(keep_entry_unpack(bytes, size, &again), -EBADMSG);
		bytes[i] ^= (uint8_t)(1u << (i % 8));
		assert_int_equal(keep_entry_unpack(bytes, i, &again), -EBADMSG);
	}
	free(bytes);
	keep_entry_slim(kept);
	assert_int_equal(kept->result->dependencies.len, 0);
	assert_int_equal(keep_entry_write(folder, "0123456789abcdef", kept), 0);
	assert_int_equal(keep_entry_read(folder, "0123456789abcdef", &again), 0);
	assert_int_equal(again->result->sealed_bytes, 4096);
	keep_entry_free(again);
	assert_int_equal(keep_entry_read(folder, "0123456789abcde0", &again), -ENOENT);
	/* others could have written it */
	assert_int_equal(chmod(at("0123456789abcdef.kept"), 0666), 0);
	assert_int_equal(keep_entry_read(folder, "0123456789abcdef", &again), -EACCES);
	keep_entry_free(kept);
	close(folder);
}

static void room(void **state)
{
	int folder = keep_folder_open(root, true, &err);
	struct keep_listed *list = NULL;
	struct stat st;

	(void)state;
	keep_one(folder, "00000000000000aa", 64, 3000000000);
	keep_one(folder, "00000000000000bb", 64, 1000000000);
	keep_one(folder, "00000000000000cc", 64, 2000000000);
	assert_int_equal(keep_folder_list(folder, &list), 3);
	for (int i = 0; i < 3; i++)
		assert_in_range(list[i].bytes, 64 << 10, 128 << 10);
	free(list);
	/* more than all together: nothing goes for it */
	assert_int_equal(keep_folder_make_room(folder, 2 << 20, 1 << 20, NULL), -ENOSPC);
	assert_int_equal(keep_folder_make_room(folder, 0, 1 << 20, NULL), 0);
	/* the least recently used first, but for the one that stays */
	assert_int_equal(keep_folder_make_room(folder, 64 << 10, 256 << 10, "00000000000000bb"), 1);
	assert_int_equal(fstatat(folder, "00000000000000cc", &st, 0), -1);
	assert_int_equal(fstatat(folder, "00000000000000cc.kept", &st, 0), -1);
	assert_int_equal(fstatat(folder, "00000000000000bb", &st, 0), 0);
	assert_int_equal(keep_folder_make_room(folder, 64 << 10, 192 << 10, NULL), 1);
	assert_int_equal(fstatat(folder, "00000000000000bb", &st, 0), -1);
	assert_int_equal(keep_folder_list(folder, &list), 1);
	assert_string_equal(list[0].id, "00000000000000aa");
	assert_int_equal(list[0].used_ns, 3000000000);
	free(list);
	close(folder);
}

static void what_was_left_behind(void **state)
{
	int folder = keep_folder_open(root, true, &err), lock = keep_folder_lock(folder);
	struct stat st;

	(void)state;
	assert_true(lock >= 0);
	keep_one(folder, "00000000000000aa", 4, 1);
	keep_one(folder, "00000000000000bb", 4, 1);
	keep_one(folder, "00000000000000cc", 4, 1);
	/* the image without its entry, the entry without its image, half an entry, and what is somebody else's */
	unlink(at("00000000000000aa.kept"));
	rename(at("00000000000000bb"), at("x"));
	put(".kept-00000000000000dd", "half");
	put("README", "mine");
	keep_folder_sweep(folder);
	assert_int_equal(fstatat(folder, "00000000000000aa", &st, 0), -1);
	assert_int_equal(fstatat(folder, "00000000000000bb.kept", &st, 0), -1);
	assert_int_equal(fstatat(folder, ".kept-00000000000000dd", &st, 0), -1);
	assert_int_equal(fstatat(folder, "README", &st, 0), 0);
	assert_int_equal(fstatat(folder, "00000000000000cc.kept", &st, 0), 0);
	assert_int_equal(fstatat(folder, "00000000000000cc", &st, 0), 0);
	close(lock);
	close(folder);
}

static void facts(void **state)
{
	Warm__Kept *kept = a_kept("n");
	uint64_t was = keep_fact_value(KEEP_FACT_SETTINGS, &config);
	char *path = (char *)"/x";

	(void)state;
	for (unsigned int i = 0; i < KEEP_FACTS; i++) {
		uint64_t value = keep_fact_value(i, &config);

		assert_true(value != 0);
		assert_int_equal(value, keep_fact_value(i, &config));
		for (unsigned int j = 0; j < i; j++)
			assert_true(value != keep_fact_value(j, &config));
	}
	/* it took in nothing of this boot */
	assert_int_equal(kept->facts[KEEP_FACT_BOOT], 0);
	assert_null(keep_entry_differs(kept, &config));
	for (unsigned int i = 0; i < KEEP_FACTS; i++) {
		uint64_t had = kept->facts[i];

		kept->facts[i] = 12345;
		assert_string_equal(keep_entry_differs(kept, &config), keep_fact_name(i));
		kept->facts[i] = had;
	}
	config.ignore_paths = (struct config_list){ &path, 1 };
	assert_true(keep_fact_value(KEEP_FACT_SETTINGS, &config) != was);
	assert_string_equal(keep_entry_differs(kept, &config), keep_fact_name(KEEP_FACT_SETTINGS));
	config.ignore_paths = (struct config_list){ 0 };
	keep_entry_free(kept);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(where_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(whose_it_is, setup, teardown),
		cmocka_unit_test_setup_teardown(entries, setup, teardown),
		cmocka_unit_test_setup_teardown(room, setup, teardown),
		cmocka_unit_test_setup_teardown(what_was_left_behind, setup, teardown),
		cmocka_unit_test_setup_teardown(facts, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
