/* SPDX-License-Identifier: MIT */
/* images: a model and its pages to disk and back; damage of every sort; writers that end early */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "engine/base/fd.h"
#include "snapshot/image/image_codec.h"
#include "tests/unit/image/a_model.h"

#define STORED 300 /* pages */

static char base[64];
static int dir;
static long page;
static struct model *model;
static int pages;
static struct error err;

static int begin(void **state)
{
	char *bytes;

	(void)state;
	page = sysconf(_SC_PAGESIZE);
	strcpy(base, "/tmp/warm-test-XXXXXX");
	assert_non_null(mkdtemp(base));
	dir = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(dir >= 0);
	model = a_model();
	/* a stored piece, a hole that memory may grow into, and another */
	pages = memfd_create("pages", MFD_CLOEXEC);
	bytes = malloc((size_t)page * STORED);
	for (long i = 0; i < page * STORED; i++)
		bytes[i] = (char)(i / page + i * 7 + 1);
	assert_int_equal(ftruncate(pages, 1 << 30), 0);
	assert_int_equal(pwrite_full(pages, bytes, (size_t)page * STORED, 0), 0);
	assert_int_equal(pwrite_full(pages, bytes, (size_t)page, (1 << 30) - page), 0);
	free(bytes);
	err.text[0] = '\0';
	return 0;
}

static int end(void **state)
{
	char command[128];

	(void)state;
	model_free(model);
	close(pages);
	close(dir);
	snprintf(command, sizeof(command), "rm -rf %s", base);
	return system(command);
}

static unsigned int entries(void)
{
	DIR *d = opendir(base);
	unsigned int n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static int write_image(const char *name, const char *facts)
{
	const struct image_content content = {
		.model = model,
		.pages = pages,
		.huge = -EBADF,
		.facts = facts,
		.facts_size = facts ? strlen(facts) : 0,
	};

	return image_write(dir, name, &content, &err);
}

static void written(const char *name, const char *facts)
{
	if (write_image(name, facts) < 0)
		fail_msg("%s", err.text);
}

static struct image *opened(const char *name, unsigned int flags)
{
	struct image *image = NULL;

	if (image_open(dir, name, flags, &image, &err) < 0)
		fail_msg("%s", err.text);
	return image;
}

static void refused(const char *name, unsigned int flags, int code, const char *words)
{
	struct image *image = NULL;
	int r;

	err.text[0] = '\0';
	r = image_open(dir, name, flags, &image, &err);
	assert_null(image);
	if (r != code)
		fail_msg("it is %d, not %d: %s", r, code, err.text);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, err.text);
}

static char *manifest_of(const char *name, size_t *ret_size)
{
	char path[160], *bytes;

	snprintf(path, sizeof(path), "%s/%s/manifest.pb", base, name);
	assert_int_equal(read_file(path, &bytes, ret_size), 0);
	return bytes;
}

static void put_manifest(const char *name, const void *bytes, size_t size)
{
	char path[160];
	int fd;

	snprintf(path, sizeof(path), "%s/manifest.pb", name);
	fd = openat(dir, path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(write_full(fd, bytes, size), 0);
	close(fd);
}

static void there_and_back(void **state)
{
	char *a = malloc((size_t)page * STORED), *b = malloc((size_t)page * STORED);
	struct image_info info;
	struct image *image;
	struct model *taken;
	const void *facts;
	size_t size;
	struct stat st;

	(void)state;
	written("img", "what its maker wants to know");
	image = opened("img", IMAGE_VERIFY);
	same_model(model, image_model(image));
	facts = image_facts(image, &size);
	assert_int_equal(size, 28);
	assert_memory_equal(facts, "what its maker wants to know", size);
	info = image_info(image);
	assert_string_equal(info.version, WARM_VERSION);
	assert_int_equal(info.format, IMAGE_FORMAT);
	assert_int_equal(info.page_size, page);
	assert_int_equal(info.pages_size, 1 << 30);
	assert_int_equal(info.pages_stored, (STORED + 1) * page);
	assert_true(info.created_ns > 1000000000ull * 1000000000ull);
	assert_int_equal(fstat(image_pages(image), &st), 0);
	assert_int_equal(st.st_size, 1 << 30);
	assert_true((uint64_t)st.st_blocks * 512 < info.pages_stored * 105 / 100);
	assert_int_equal(fcntl(image_pages(image), F_GETFL) & O_ACCMODE, O_RDONLY);
	assert_int_equal(pread_full(pages, a, (size_t)page * STORED, 0), 0);
	assert_int_equal(pread_full(image_pages(image), b, (size_t)page * STORED, 0), 0);
	assert_memory_equal(a, b, (size_t)page * STORED);
	assert_int_equal(image_check_machine(image, &err), 0);
	taken = image_take_model(image);
	assert_null(image_model(image));
	image_free(image);
	same_model(model, taken);
	model_free(taken);
	free(a);
	free(b);
}

static void without_what_can_be_absent(void **state)
{
	struct image *image;
	size_t size;

	(void)state;
	model->entry.has_exit = model->entry.has_start_rlimits = model->entry.has_start_affinity = false;
	memset(&model->entry.exit, 0, sizeof(model->entry.exit));
	memset(model->entry.start_rlimits, 0, sizeof(model->entry.start_rlimits));
	memset(model->entry.start_affinity, 0, sizeof(model->entry.start_affinity));
	model->entry.build_env = NULL;
	model->entry.build_envc = 0;
	model->entry.start_cwd = model->entry.oom_score_adj = NULL;
	written("img", NULL);
	image = opened("img", 0);
	same_model(model, image_model(image));
	assert_null(image_facts(image, &size));
	assert_int_equal(size, 0);
	image_free(image);
}

static void what_no_reader_takes_is_not_written(void **state)
{
	(void)state;
	model->processes[1].space = 3;
	assert_int_equal(write_image("img", "x"), -EBADMSG);
	assert_int_equal(entries(), 0);
	model->processes[1].space = 0;
}

static void size_and_removal(void **state)
{
	uint64_t bytes;

	(void)state;
	assert_int_equal(image_size(dir, "img", &bytes, &err), -ENOENT);
	written("img", "x");
	assert_int_equal(image_size(dir, "img", &bytes, &err), 0);
	assert_true(bytes >= (STORED + 1) * (uint64_t)page && bytes < (STORED + 40) * (uint64_t)page);
	put_manifest("img", "damaged", 7);
	assert_int_equal(image_size(dir, "img", &bytes, &err), 0);
	assert_int_equal(image_remove(dir, "img", &err), 0);
	assert_int_equal(entries(), 0);
}

/* --- damage ---------------------------------------------------------------------------------------------------------- */

/* Return: is it refused, with words? */
static bool is_refused(const char *bytes, size_t size)
{
	struct image *image = NULL;
	/* of exactly that size, so that ASan sees a read behind it */
	char *exact = malloc(size ? size : 1);
	int r;

	memcpy(exact, bytes, size);
	err.text[0] = '\0';
	r = image_parse(exact, size, &image, &err);
	free(exact);
	image_free(image);
	return r < 0 && err.text[0];
}

static void one_bit_of_the_manifest(void **state)
{
	unsigned int seed = 1;
	size_t size;
	char *bytes;

	(void)state;
	written("img", "x");
	bytes = manifest_of("img", &size);
	assert_false(is_refused(bytes, size));
	/* all of the outer message, and 1,000 anywhere */
	for (size_t i = 0; i < 1000 + 40 * 8; i++) {
		size_t bit = i < 40 * 8 ? i : (size_t)rand_r(&seed) % (size * 8);

		bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
		if (!is_refused(bytes, size))
			fail_msg("bit %zu was not noticed", bit);
		bytes[bit / 8] = (char)(bytes[bit / 8] ^ 1 << bit % 8);
	}
	free(bytes);
}

static void a_shorter_or_longer_manifest(void **state)
{
	size_t size, step;
	char *bytes;

	(void)state;
	written("img", "x");
	bytes = manifest_of("img", &size);
	step = size / 1000 + 1;
	for (size_t n = 0; n < size; n += n < 100 ? 1 : step)
		if (!is_refused(bytes, n))
			fail_msg("%zu of %zu bytes are taken for the whole", n, size);
	bytes = realloc(bytes, size + 16);
	memset(bytes + size, 0, 16);
	assert_true(is_refused(bytes, size + 1));
	assert_true(is_refused(bytes, size + 16));
	put_manifest("img", bytes, size / 2);
	refused("img", 0, -EBADMSG, "the image 'img' is not used: manifest.pb:");
	free(bytes);
}

static void a_shorter_or_longer_page_file(void **state)
{
	static const off_t changes[] = { -1, 1, -4096, 4096, -(1 << 30), 1 << 30 };

	(void)state;
	written("img", "x");
	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		int fd = openat(dir, "img/pages-1.img", O_WRONLY | O_CLOEXEC);

		assert_int_equal(ftruncate(fd, (1 << 30) + changes[i]), 0);
		close(fd);
		refused("img", 0, -EBADMSG, "pages-1.img is damaged: it has");
	}
	assert_int_equal(unlinkat(dir, "img/pages-1.img", 0), 0);
	refused("img", 0, -ENOENT, "pages-1.img cannot be opened");
}

/* 1,000 flips are in test_image_pages.c; here: that it is asked for, and what it says */
static void one_bit_of_the_page_file(void **state)
{
	int fd;

	(void)state;
	written("img", "x");
	fd = openat(dir, "img/pages-1.img", O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, "\0", 1, page * 260), 1);
	close(fd);
	image_free(opened("img", 0));
	refused("img", IMAGE_VERIFY, -EBADMSG,
		"the image 'img' is not used: pages-1.img is damaged between offsets 1048576 and 1228800");
}

/* a manifest whose checksum is right, whatever is in it */
static void changed(void (*change)(Image__Body *body), int code, const char *words)
{
	size_t size;
	char *bytes = manifest_of("img", &size), *again;
	Image__Manifest *m = image__manifest__unpack(NULL, size, (uint8_t *)bytes);
	Image__Body *body = image__body__unpack(NULL, m->body.len, m->body.data);

	change(body);
	free(m->body.data);
	m->body.len = image__body__get_packed_size(body);
	m->body.data = malloc(m->body.len);
	image__body__pack(body, m->body.data);
	m->checksum = image_checksum(m->body.data, m->body.len);
	size = image__manifest__get_packed_size(m);
	again = malloc(size);
	image__manifest__pack(m, (uint8_t *)again);
	put_manifest("img", again, size);
	refused("img", 0, code, words);
	image__manifest__free_unpacked(m, NULL);
	image__body__free_unpacked(body, NULL);
	written("img", "x");
	free(again);
	free(bytes);
}

static void architecture(Image__Body *b)
{
	b->architecture[0] = 'X';
}

static void page_size(Image__Body *b)
{
	b->page_size *= 4;
}

static void byte_order(Image__Body *b)
{
	b->byte_order = 0x04030201;
}

static void file_name(Image__Body *b)
{
	b->files[0]->name[0] = '/';
}

static void chunk_order(Image__Body *b)
{
	b->files[0]->offsets[1] = 0;
}

static void chunk_length(Image__Body *b)
{
	b->files[0]->lengths[0] = 2 << 20;
}

static void chunk_beyond(Image__Body *b)
{
	b->files[0]->offsets[b->files[0]->n_offsets - 1] = 1ull << 62;
}

static void chunk_missing(Image__Body *b)
{
	b->files[0]->n_checksums--;
}

static void file_size(Image__Body *b)
{
	b->files[0]->size = ~0ull << 12;
}

static void page_beyond(Image__Body *b)
{
	b->model->spaces[0]->vmas[1]->runs[2] = 1ull << 30;
}

static void page_far_beyond(Image__Body *b)
{
	b->model->spaces[0]->vmas[1]->runs[2] = (1ull << 63) - 4096;
}

static void index_beyond(Image__Body *b)
{
	b->model->processes[0]->space = 1 << 30;
}

static void index_negative(Image__Body *b)
{
	b->model->spaces[0]->exe_object = -2;
}

static void overlap(Image__Body *b)
{
	b->model->spaces[0]->vmas[1]->start = b->model->spaces[0]->vmas[0]->start;
}

static void half_a_run(Image__Body *b)
{
	b->model->spaces[0]->vmas[1]->n_runs--;
}

static void nul_in_a_path(Image__Body *b)
{
	b->model->objects[0]->path.data[2] = '\0';
}

static void no_nul_behind_a_path(Image__Body *b)
{
	b->model->objects[0]->path.len--;
}

static void relative_path(Image__Body *b)
{
	b->model->objects[0]->path.data[0] = 'x';
}

static void short_registers(Image__Body *b)
{
	b->model->processes[0]->threads[0]->regs.len--;
}

static void unknown_enum(Image__Body *b)
{
	b->model->processes[0]->threads[0]->resume = (Image__Resume)17;
}

static void no_kind(Image__Body *b)
{
	Image__FdEpoll *epoll = b->model->descriptions[2 * MODEL_FD_EPOLL]->epoll;

	image__fd_epoll__free_unpacked(epoll, NULL);
	b->model->descriptions[2 * MODEL_FD_EPOLL]->kind_case = IMAGE__DESCRIPTION__KIND__NOT_SET;
}

static void few_limits(Image__Body *b)
{
	b->model->processes[0]->n_rlimits--;
}

static void no_process(Image__Body *b)
{
	for (size_t i = 0; i < b->model->n_processes; i++)
		image__process__free_unpacked(b->model->processes[i], NULL);
	b->model->n_processes = 0;
}

static void parent_behind(Image__Body *b)
{
	b->model->processes[1]->parent = 2;
}

static void own_peer(Image__Body *b)
{
	b->model->descriptions[2 * MODEL_FD_PIPE]->peer = 2 * MODEL_FD_PIPE; /* a_model.c */
}

static void what_is_wrong_is_named(void **state)
{
	static const struct {
		void (*change)(Image__Body *body);
		int code;
		const char *words;
	} rows[] = {
		{ architecture, -EOPNOTSUPP, "it is of a machine of architecture 'X" },
		{ page_size, -EOPNOTSUPP, "with pages of 16384 bytes" },
		{ byte_order, -EOPNOTSUPP, "another byte order" },
		{ file_name, -EBADMSG, "other page files than pages-1.img" },
		{ chunk_order, -EBADMSG, "chunks of its page file" },
		{ chunk_length, -EBADMSG, "chunks of its page file" },
		{ chunk_beyond, -EBADMSG, "chunks of its page file" },
		{ chunk_missing, -EBADMSG, "chunks of its page file" },
		{ file_size, -EBADMSG, "chunks of its page file" },
		{ page_beyond, -EBADMSG, "beyond the end of its page file" },
		{ page_far_beyond, -EBADMSG, "beyond the end of its page file" },
		{ index_beyond, -EBADMSG, "the memory, descriptors or threads of a process" },
		{ index_negative, -EBADMSG, "the program's file of an address space" },
		{ overlap, -EBADMSG, "the addresses of a mapping (number 1)" },
		{ half_a_run, -EBADMSG, "half a run of pages" },
		{ nul_in_a_path, -EBADMSG, "the path of a file" },
		{ no_nul_behind_a_path, -EBADMSG, "the path of a file" },
		{ relative_path, -EBADMSG, "a mapped file (number 0)" },
		{ short_registers, -EBADMSG, "the registers of a thread" },
		{ unknown_enum, -EBADMSG, "where a thread goes on" },
		{ no_kind, -EBADMSG, "a descriptor of no known kind" },
		{ few_limits, -EBADMSG, "limits" },
		{ no_process, -EBADMSG, "its model is damaged" },
		{ parent_behind, -EBADMSG, "the place of a process in the tree (number 1)" },
		{ own_peer, -EBADMSG, "the other end of a pipe or socket" },
	};

	(void)state;
	written("img", "x");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		changed(rows[i].change, rows[i].code, rows[i].words);
}

/* a manifest that is small, and asks for much */
static void what_would_take_much_memory(void **state)
{
	enum { N = 1 << 20 };
	/* Model.processes (field 8) without any field, two bytes each */
	Image__Manifest m = IMAGE__MANIFEST__INIT;
	uint8_t *body = malloc(2 * N + 16), *bytes;
	size_t size, at = 0;

	(void)state;
	body[at++] = 7 << 3 | 2; /* Body.model */
	for (size_t rest = 2 * N; rest; rest >>= 7)
		body[at++] = (uint8_t)((rest & 127) | (rest > 127 ? 128 : 0));
	for (size_t i = 0; i < N; i++, at += 2)
		memcpy(body + at, "\x42\x00", 2);
	m.magic = 0x474d4957;
	m.format = IMAGE_FORMAT;
	m.body = (ProtobufCBinaryData){ at, body };
	m.checksum = image_checksum(body, at);
	size = image__manifest__get_packed_size(&m);
	bytes = malloc(size);
	image__manifest__pack(&m, bytes);
	assert_true(is_refused((char *)bytes, size));
	free(bytes);
	free(body);
}

/* --- writers that end early --------------------------------------------------------------------------------------------- */

/* of an older image that is to stay, and nothing else */
static void expect_old(int r, int code)
{
	struct image *image;
	size_t size;

	if (r != code)
		fail_msg("it is %d, not %d: %s", r, code, err.text);
	assert_int_equal(entries(), 1);
	image = opened("img", IMAGE_VERIFY);
	assert_memory_equal(image_facts(image, &size), "old", 3);
	image_free(image);
}

static void file_size_limit(void **state)
{
	struct rlimit before, limit;
	sigset_t pending, mask;
	int r;

	(void)state;
	/* without this a signal that is not held back would end the test, or nothing */
	signal(SIGXFSZ, SIG_DFL);
	written("img", "old");
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
	limit = before;
	for (rlim_t bytes = 0; bytes < 3 * (rlim_t)page; bytes += 1000) {
		limit.rlim_cur = bytes;
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
		r = write_image("img", "new");
		assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
		expect_old(r, -EFBIG);
	}
	/* the pages fit, and the manifest does not */
	assert_int_equal(ftruncate(pages, 8 * page), 0);
	limit.rlim_cur = 8 * (rlim_t)page;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
	r = write_image("img", "new");
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
	expect_old(r, -EFBIG);
	assert_int_equal(sigpending(&pending), 0);
	assert_false(sigismember(&pending, SIGXFSZ));
	assert_int_equal(sigprocmask(SIG_BLOCK, NULL, &mask), 0);
	assert_false(sigismember(&mask, SIGXFSZ));
}

/* in a child, which has a file system of 1.5 MiB at `base`. Return: exit status: 77: the host does not let us */
static int on_a_full_disk(void)
{
	char options[64], filler[128];
	uid_t uid = geteuid();
	int fd;

	if (unshare(CLONE_NEWNS | (uid ? CLONE_NEWUSER : 0)) < 0)
		return 77;
	mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
	snprintf(options, sizeof(options), "size=%ld,mode=700", (STORED + 60) * page);
	if (mount("warm-test", base, "tmpfs", 0, options) < 0)
		return 77;
	close(dir);
	dir = open(base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* one image fits, two do not; then room for the pages of a small one, and less and less beside them */
	written("img", "old");
	expect_old(write_image("img", "new"), -ENOSPC);
	assert_int_equal(ftruncate(pages, 4 * page), 0);
	for (long room = 12; room >= 0; room--) {
		int r;

		snprintf(filler, sizeof(filler), "%s/filler", base);
		fd = open(filler, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		while (write(fd, filler, 1) == 1 && lseek(fd, page - 1, SEEK_CUR) >= 0)
			;
		if (ftruncate(fd, lseek(fd, 0, SEEK_END) - room * page) < 0)
			return 1;
		close(fd);
		r = write_image("small", "x");
		if (r == 0)
			r = image_remove(dir, "small", &err);
		else
			assert_int_equal(r, -ENOSPC);
		unlink(filler);
		expect_old(0, 0);
	}
	return 0;
}

static void full_disk(void **state)
{
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0)
		_exit(on_a_full_disk());
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

/* killed at any moment of a write; the time of the kill is all that is random here */
static void killed(void **state)
{
	unsigned int seed = 1, old = 0, new = 0;

	(void)state;
	written("img", "old");
	for (unsigned int i = 0; i < 50; i++) {
		struct timespec wait = { 0, rand_r(&seed) % 12000000 };
		struct image *image;
		size_t size;
		pid_t pid = fork();

		if (pid == 0) {
			write_image("img", i % 2 ? "old" : "new");
			_exit(0);
		}
		nanosleep(&wait, NULL);
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		image = opened("img", IMAGE_VERIFY);
		same_model(model, image_model(image));
		if (memcmp(image_facts(image, &size), "old", 3) == 0)
			old++;
		else
			new ++;
		assert_int_equal(size, 3);
		image_free(image);
		/* what this one left, the next one removes */
		assert_true(entries() <= 2);
	}
	written("img", "new");
	assert_int_equal(entries(), 1);
	assert_int_equal(old + new, 50);
}

int main(void)
{
#define TEST(t) cmocka_unit_test_setup_teardown(t, begin, end)
	const struct CMUnitTest tests[] = {
		TEST(there_and_back),
		TEST(without_what_can_be_absent),
		TEST(what_no_reader_takes_is_not_written),
		TEST(size_and_removal),
		TEST(one_bit_of_the_manifest),
		TEST(a_shorter_or_longer_manifest),
		TEST(a_shorter_or_longer_page_file),
		TEST(one_bit_of_the_page_file),
		TEST(what_is_wrong_is_named),
		TEST(what_would_take_much_memory),
		TEST(file_size_limit),
		TEST(full_disk),
		TEST(killed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
