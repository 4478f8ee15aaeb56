/* SPDX-License-Identifier: MIT */
/* page files of an image: what is written, what stays a hole, and what a verification finds */
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
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "snapshot/image/image_internal.h"
#include "snapshot/model/model.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static long page;
static struct error err;

static int memfd(uint64_t size)
{
	int fd = memfd_create("pages", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)size), 0);
	return fd;
}

/* @pages pages from @at on, each with bytes of its own */
static void fill(int fd, uint64_t at, unsigned int pages)
{
	char *bytes = malloc((size_t)page);

	for (unsigned int i = 0; i < pages; i++) {
		for (long j = 0; j < page; j++)
			bytes[j] = (char)(at / (uint64_t)page + i * 7 + (unsigned int)j + 1);
		assert_int_equal(pwrite_full(fd, bytes, (size_t)page, (off_t)(at + i * (uint64_t)page)), 0);
	}
	free(bytes);
}

static uint64_t on_disk(int fd)
{
	struct stat st;

	assert_int_equal(fstat(fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void same_bytes(int a, int b, uint64_t at, size_t size)
{
	char *x = malloc(size), *y = malloc(size);

	assert_int_equal(pread_full(a, x, size, (off_t)at), 0);
	assert_int_equal(pread_full(b, y, size, (off_t)at), 0);
	assert_memory_equal(x, y, size);
	free(x);
	free(y);
}

/* a sparse file as a template has it: pieces, and behind them holes that mremap(2) may grow into */
static int source(void)
{
	int fd = memfd(3 * GIB);

	fill(fd, 0, 3);
	fill(fd, MIB - (uint64_t)page, 2); /* across the end of a window */
	fill(fd, GIB + 5 * (uint64_t)page, 1);
	fill(fd, 2 * GIB, 300);
	return fd;
}

static struct image_chunks written(int from, int to)
{
	const struct image_content content = { .pages = from, .huge = -EBADF };
	struct image_chunks chunks;
	uint64_t size;

	assert_int_equal(image_pages_write(to, &content, &chunks, &size, &err), 0);
	assert_int_equal(size, 3 * GIB);
	return chunks;
}

static void holes_stay_holes(void **state)
{
	int from = source(), to = memfd(0);
	struct image_chunks chunks = written(from, to);
	struct stat st;

	(void)state;
	assert_int_equal(chunks.stored, (3 + 2 + 1 + 300) * (uint64_t)page);
	assert_int_equal(on_disk(to), chunks.stored);
	assert_int_equal(fstat(to, &st), 0);
	assert_int_equal(st.st_size, 3 * GIB);
	same_bytes(from, to, 0, 2 * MIB);
	same_bytes(from, to, GIB, MIB);
	same_bytes(from, to, 2 * GIB, 2 * MIB);
	/* 3 pages and the last page of window 0 are one chunk; that page's neighbour begins the next */
	assert_int_equal(chunks.list[0].offset, 0);
	assert_int_equal(chunks.list[0].length, MIB);
	assert_int_equal(chunks.list[1].offset, MIB);
	assert_int_equal(chunks.list[1].length, page);
	assert_int_equal(chunks.list[2].offset, GIB + 5 * (uint64_t)page);
	assert_int_equal(chunks.count, 3 + (300 * page + (long)MIB - 1) / (long)MIB);
	assert_int_equal(image_pages_verify(to, "p", 3 * GIB, &chunks, &err), 0);
	free(chunks.list);
	close(from);
	close(to);
}

/* written and zero: as good as never written */
static void pages_of_zeros_are_holes(void **state)
{
	int from = memfd(3 * GIB), to = memfd(0);
	char *zeros = calloc(1, MIB);
	struct image_chunks chunks;

	(void)state;
	assert_int_equal(pwrite_full(from, zeros, MIB, 0), 0);
	fill(from, 8 * (uint64_t)page, 1);
	chunks = written(from, to);
	assert_int_equal(chunks.stored, page);
	assert_int_equal(on_disk(to), page);
	assert_int_equal(chunks.count, 1);
	free(chunks.list);
	free(zeros);
	close(from);
	close(to);
}

/* huge pages become ordinary ones, where the pages memfd has its hole for them */
static void huge_pages(void **state)
{
	int pages = memfd(8 * MIB), huge = memfd(4 * MIB), to = memfd(0);
	const struct model_piece pieces[] = { { 3 * MIB - 2 * (uint64_t)page, 2 * MIB, 2 * MIB },
					      { 6 * MIB, 0, 2 * MIB } };
	const struct image_content content = {
		.pages = pages, .huge = huge, .huge_pieces = pieces, .nhuge_pieces = ARRAY_SIZE(pieces)
	};
	char *a = malloc(2 * MIB), *b = malloc(2 * MIB);
	struct image_chunks chunks;
	uint64_t size;

	(void)state;
	fill(pages, 0, 1);
	fill(pages, 5 * MIB + 8 * (uint64_t)page, 4);
	fill(huge, 0, (unsigned int)(4 * MIB / (uint64_t)page));
	assert_int_equal(image_pages_write(to, &content, &chunks, &size, &err), 0);
	assert_int_equal(size, 8 * MIB);
	assert_int_equal(chunks.stored, 4 * MIB + 5 * (uint64_t)page);
	for (size_t i = 0; i < ARRAY_SIZE(pieces); i++) {
		assert_int_equal(pread_full(huge, a, pieces[i].length, (off_t)pieces[i].from), 0);
		assert_int_equal(pread_full(to, b, pieces[i].length, (off_t)pieces[i].offset), 0);
		assert_memory_equal(a, b, pieces[i].length);
	}
	same_bytes(pages, to, 0, MIB);
	same_bytes(pages, to, 5 * MIB, MIB);
	assert_int_equal(image_pages_verify(to, "p", size, &chunks, &err), 0);
	free(chunks.list);
	free(a);
	free(b);
	close(pages);
	close(huge);
	close(to);
}

static void expect_damage(int fd, const struct image_chunks *chunks, const char *words)
{
	err.text[0] = '\0';
	assert_int_equal(image_pages_verify(fd, "pages-1.img", 3 * GIB, chunks, &err), -EBADMSG);
	if (!strstr(err.text, words))
		fail_msg("\"%s\" is not in \"%s\"", words, err.text);
}

static void flip(int fd, uint64_t bit)
{
	char c;

	assert_int_equal(pread_full(fd, &c, 1, (off_t)(bit / 8)), 0);
	c = (char)(c ^ 1 << bit % 8);
	assert_int_equal(pwrite_full(fd, &c, 1, (off_t)(bit / 8)), 0);
}

static void one_bit_anywhere(void **state)
{
	int from = source(), to = memfd(0);
	struct image_chunks chunks = written(from, to);
	unsigned int seed = 1;

	(void)state;
	for (unsigned int i = 0; i < 1000; i++) {
		const struct image_chunk *c = &chunks.list[i % chunks.count];
		uint64_t bit = c->offset * 8 + (uint64_t)rand_r(&seed) % (c->length * 8);
		char words[128];

		flip(to, bit);
		snprintf(words, sizeof(words), "pages-1.img is damaged between offsets %llu and",
			 (unsigned long long)c->offset);
		expect_damage(to, &chunks, words);
		flip(to, bit);
	}
	assert_int_equal(image_pages_verify(to, "p", 3 * GIB, &chunks, &err), 0);
	free(chunks.list);
	close(from);
	close(to);
}

static void data_in_a_hole(void **state)
{
	int from = source(), to = memfd(0);
	struct image_chunks chunks = written(from, to);

	(void)state;
	flip(to, 8 * (GIB / 2));
	expect_damage(to, &chunks,
		      "between offsets 536870912 and 537919488: it has data where a hole should be");
	flip(to, 8 * (GIB / 2));
	/* in the window of a chunk, and not in it */
	flip(to, 8 * GIB);
	expect_damage(to, &chunks, "data where a hole should be");
	flip(to, 8 * GIB);
	/* behind the last chunk */
	flip(to, 8 * (3 * GIB - 1));
	expect_damage(to, &chunks, "data where a hole should be");
	free(chunks.list);
	close(from);
	close(to);
}

static void a_hole_where_data_should_be(void **state)
{
	int from = source(), to = memfd(0);
	struct image_chunks chunks = written(from, to);

	(void)state;
	assert_int_equal(fallocate(to, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)GIB, (off_t)MIB),
			 0);
	expect_damage(to, &chunks, "the checksum is not that of the manifest");
	free(chunks.list);
	close(from);
	close(to);
}

static int look(void **state)
{
	(void)state;
	page = sysconf(_SC_PAGESIZE);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(holes_stay_holes), cmocka_unit_test(pages_of_zeros_are_holes),
		cmocka_unit_test(huge_pages),	    cmocka_unit_test(one_bit_anywhere),
		cmocka_unit_test(data_in_a_hole),   cmocka_unit_test(a_hole_where_data_should_be),
	};

	return cmocka_run_group_tests(tests, look, NULL);
}
