/* SPDX-License-Identifier: MIT */
/* pty/ring: what was printed, followed, overtaken, replayed; and a neighbour that scribbles in it */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "pty/pty.h"
#include "pty/pump.h"
#include "pty/ring.h"

#define SIZE	 RING_MIN_BYTES
#define KEPT	 (SIZE - RING_CHUNK)
#define MAGIC_AT 0 /* of ring_header, as ring.c has it: the tests write where a neighbour could */
#define SIZE_AT	 16
#define HEAD_AT	 64

static struct ring ring;

static int setup(void **state)
{
	(void)state;
	return ring_create(SIZE, &ring);
}

static int teardown(void **state)
{
	(void)state;
	ring_unmap(&ring);
	return 0;
}

static void put(const void *bytes, size_t n)
{
	const uint8_t *p = bytes;

	while (n) {
		void *space;
		size_t room = ring_space(&ring, &space);

		assert_in_range(room, 1, RING_CHUNK);
		room = room < n ? room : n;
		memcpy(space, p, room);
		ring_commit(&ring, room);
		p += room;
		n -= room;
	}
}

static void fill(uint8_t c, size_t n)
{
	uint8_t *p = malloc(n);

	memset(p, c, n);
	put(p, n);
	free(p);
}

/* the byte that belongs at a position */
static uint8_t byte_at(uint64_t pos)
{
	return (uint8_t)(pos ^ pos >> 8 ^ pos >> 16);
}

static void put_pattern(size_t n)
{
	uint8_t *p = malloc(n);
	uint64_t head = ring_head(&ring);

	for (size_t i = 0; i < n; i++)
		p[i] = byte_at(head + i);
	put(p, n);
	free(p);
}

static void sizes(void **state)
{
	struct ring r;

	(void)state;
	assert_int_equal(ring.size, SIZE);
	assert_int_equal(ring_create(0, &r), 0);
	assert_int_equal(r.size, PTY_RING_BYTES);
	ring_unmap(&r);
	assert_null(r.header);
	assert_int_equal(ring_create(SIZE + 1, &r), 0);
	assert_int_equal(r.size, 2 * SIZE);
	assert_int_equal(lseek(r.fd, 0, SEEK_END), 2 * SIZE + 4096);
	/* nobody can cut it off under us */
	assert_int_equal(ftruncate(r.fd, 4096), -1);
	assert_int_equal(errno, EPERM);
	ring_unmap(&r);
	ring_unmap(&r);
	assert_int_equal(ring_create((size_t)RING_MAX_BYTES + 1, &r), -EINVAL);
}

static void followed(void **state)
{
	uint64_t pos = 0, lost = 1;
	struct ring other;
	char buf[32];
	const void *p;

	(void)state;
	assert_int_equal(ring_map(ring.fd, &other), 0);
	assert_int_equal(other.fd, -EBADF);
	assert_int_equal(ring_copy(&other, &pos, buf, sizeof(buf), &lost), 0);
	assert_int_equal(lost, 0);
	put("hello", 5);
	assert_int_equal(ring_head(&other), 5);
	assert_int_equal(ring_read(&other, &pos, &p, &lost), 5);
	assert_memory_equal(p, "hello", 5);
	assert_int_equal(pos, 0);
	assert_int_equal(ring_copy(&other, &pos, buf, 3, &lost), 3);
	assert_memory_equal(buf, "hel", 3);
	assert_int_equal(ring_copy(&other, &pos, buf, sizeof(buf), NULL), 2);
	assert_memory_equal(buf, "lo", 2);
	assert_int_equal(pos, 5);
	ring_unmap(&other);
}

/* over the end of the data and on, byte by byte the same */
static void wraps(void **state)
{
	static uint8_t buf[5000];
	uint64_t pos = 0, lost;

	(void)state;
	for (int round = 0; round < 100; round++) {
		size_t n = 0;

		put_pattern(4999);
		while (n < 4999) {
			size_t got = ring_copy(&ring, &pos, buf, sizeof(buf), &lost);

			assert_int_not_equal(got, 0);
			assert_int_equal(lost, 0);
			for (size_t i = 0; i < got; i++)
				assert_int_equal(buf[i], byte_at(pos - got + i));
			n += got;
		}
		assert_int_equal(pos, ring_head(&ring));
	}
}

static void overtaken(void **state)
{
	uint64_t pos = 10, lost = 0;
	uint8_t buf[16];
	const void *p;

	(void)state;
	put_pattern(3 * SIZE + 100);
	assert_int_equal(ring_oldest(&ring), 3 * SIZE + 100 - KEPT);
	assert_int_equal(ring_copy(&ring, &pos, buf, sizeof(buf), &lost), sizeof(buf));
	assert_int_equal(lost, 3 * SIZE + 100 - KEPT - 10);
	assert_int_equal(pos, ring_oldest(&ring) + sizeof(buf));
	for (size_t i = 0; i < sizeof(buf); i++)
		assert_int_equal(buf[i], byte_at(ring_oldest(&ring) + i));
	pos = 0;
	assert_int_not_equal(ring_read(&ring, &pos, &p, &lost), 0);
	assert_int_equal(pos, ring_oldest(&ring));
	assert_int_equal(lost, pos);
	/* from another ring, or nonsense: nothing there yet */
	pos = ring_head(&ring) + 1000;
	assert_int_equal(ring_copy(&ring, &pos, buf, sizeof(buf), &lost), 0);
	assert_int_equal(pos, ring_head(&ring));
}

static void *keep_printing(void *arg)
{
	const bool *stop = arg;

	while (!__atomic_load_n(stop, __ATOMIC_ACQUIRE))
		put_pattern(4096);
	return NULL;
}

/* a follower beside a pump that never waits: what it gets is whole, and where it was told to be */
static void never_torn(void **state)
{
	static uint8_t buf[RING_CHUNK];
	uint64_t pos = 0, lost, skips = 0;
	bool stop = false;
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, keep_printing, &stop), 0);
	for (int i = 0; i < 2000; i++) {
		size_t n = ring_copy(&ring, &pos, buf, sizeof(buf), &lost);

		skips += lost;
		for (size_t j = 0; j < n; j++)
			if (buf[j] != byte_at(pos - n + j))
				fail_msg("byte %zu of %zu at %zu", j, n, (size_t)pos);
	}
	__atomic_store_n(&stop, true, __ATOMIC_RELEASE);
	pthread_join(thread, NULL);
	assert_true(pos <= ring_head(&ring) && skips <= pos);
}

/* a replay after @text and then so much that all before @text's end - KEPT is lost */
static uint64_t start_after(const char *before, const char *text, size_t len)
{
	uint64_t at;

	ring_unmap(&ring);
	assert_int_equal(ring_create(SIZE, &ring), 0);
	fill('x', 100000 - strlen(before));
	put(before, strlen(before));
	at = ring_head(&ring);
	put(text, len);
	fill('x', KEPT - len);
	assert_int_equal(ring_oldest(&ring), at);
	return ring_replay_start(&ring) - at;
}

#define START(before, text) start_after(before, text, sizeof(text) - 1)

static void replay(void **state)
{
	(void)state;
	put("no newline", 10);
	assert_int_equal(ring_replay_start(&ring), 0);
	assert_int_equal(START("", "half a line\nnext\n"), 12);
	/* inside a sequence, a string, a character */
	assert_int_equal(START("\033[", "31mred\nnext\n"), 7);
	assert_int_equal(START("\xe2", "\x82\xac\nnext"), 3);
	assert_int_equal(START("", "a\033[3\n1mb\nc"), 9);
	assert_int_equal(START("", "a\033P1\n2\n\033\\b\nc"), 11);
	assert_int_equal(START("", "a\033]0;t\n\ab\nc"), 10);
	assert_int_equal(START("\033P", "1\n2\n\033\\b\nc"), 8);
	assert_int_equal(START("", "\033P1\n\x18"
				   "b\nc"),
			 7);
	/* no newline: a full-screen program. The first sequence, or else the first whole character */
	assert_int_equal(START("", "4;3Htext\033[5;1Hmore"), 8);
	assert_int_equal(START("\033]0;ti", "tle\033\\\033[1mmore"), 5);
	assert_int_equal(START("\xe2", "\x82\xac"
				       "euro"),
			 2);
}

static void only_rings(void **state)
{
	int fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING),
	    nul = open("/dev/null", O_RDWR | O_CLOEXEC);
	uint8_t *theirs = (uint8_t *)ring.header;
	struct ring r = { .fd = 77 };
	uint64_t lie = SIZE * 2;

	(void)state;
	assert_int_equal(ring_map(nul, &r), -EBADMSG);
	assert_int_equal(ring_map(-1, &r), -EBADF);
	/* the right size and contents, but not sealed */
	assert_int_equal(ftruncate(fd, 4096 + SIZE), 0);
	assert_int_equal(pwrite_full(fd, theirs, 4096, 0), 0);
	assert_int_equal(ring_map(fd, &r), -EBADMSG);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(ring_map(fd, &r), 0);
	ring_unmap(&r);
	r.fd = 77;
	/* a size that the file has not */
	assert_int_equal(pwrite_full(fd, &lie, sizeof(lie), SIZE_AT), 0);
	assert_int_equal(ring_map(fd, &r), -EBADMSG);
	close(fd);
	fd = memfd_create("x", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fd, 4096 + SIZE + 4096), 0);
	assert_int_equal(pwrite_full(fd, theirs, 4096, 0), 0);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW), 0);
	assert_int_equal(ring_map(fd, &r), -EBADMSG);
	theirs[MAGIC_AT] ^= 1;
	assert_int_equal(ring_map(ring.fd, &r), -EBADMSG);
	assert_int_equal(r.fd, 77);
	close(fd);
	close(nul);
}

/* anything in the header at any time: no access outside (ASan, or a fault, would tell), no endless loop */
static void hostile(void **state)
{
	static const uint64_t heads[] = {
		0, 1, SIZE - 1, SIZE, UINT64_MAX, UINT64_MAX - 5, 1ull << 63, UINT64_MAX - SIZE
	};
	static uint8_t buf[2 * SIZE];
	uint8_t *theirs = (uint8_t *)ring.header;

	(void)state;
	fill('\x1b', 2 * SIZE);
	memset(theirs, 0xff, 4096);
	for (size_t i = 0; i < ARRAY_SIZE(heads); i++) {
		const uint64_t places[] = { 0, 5, SIZE, heads[i], heads[i] - 7, heads[i] + 7, UINT64_MAX };
		uint64_t pos, lost;
		const void *p;
		void *space;

		memcpy(theirs + HEAD_AT, &heads[i], sizeof(heads[i]));
		for (size_t j = 0; j < ARRAY_SIZE(places); j++) {
			size_t n;

			pos = places[j];
			n = ring_read(&ring, &pos, &p, &lost);
			assert_true((const uint8_t *)p >= ring.data && n <= SIZE &&
				    (const uint8_t *)p + n <= ring.data + SIZE);
			pos = places[j];
			assert_true(ring_copy(&ring, &pos, buf, sizeof(buf), &lost) <= KEPT);
		}
		pos = ring_replay_start(&ring);
		assert_true(ring_copy(&ring, &pos, buf, sizeof(buf), &lost) <= KEPT);
		assert_in_range(ring_space(&ring, &space), 1, RING_CHUNK);
		assert_true((uint8_t *)space >= ring.data && (uint8_t *)space < ring.data + SIZE);
		ring_commit(&ring, SIZE_MAX);
	}
}

static uint64_t wakes(int wake)
{
	uint64_t n = 0;

	return read(wake, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static void pumped(void **state)
{
	int wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), p[2];
	uint64_t full = UINT64_MAX - 1, pos = 0;
	char buf[16];

	(void)state;
	assert_int_equal(pipe2(p, O_CLOEXEC | O_NONBLOCK), 0);
	assert_int_equal(pump_read(p[0], &ring, wake), -EAGAIN);
	assert_int_equal(write(p[1], "one", 3), 3);
	assert_int_equal(pump_read(p[0], &ring, wake), 3);
	assert_int_equal(wakes(wake), 0);
	/* somebody follows */
	ring_follow(&ring, 1);
	assert_int_equal(write(p[1], "two", 3), 3);
	assert_int_equal(pump_read(p[0], &ring, wake), 3);
	assert_int_equal(wakes(wake), 1);
	/* a counter that nobody ever read is full: it still wakes */
	assert_int_equal(write(wake, &full, sizeof(full)), sizeof(full));
	assert_int_equal(write(p[1], "six", 3), 3);
	assert_int_equal(pump_read(p[0], &ring, wake), 3);
	assert_int_equal(wakes(wake), 1);
	ring_follow(&ring, 1);
	ring_follow(&ring, -1);
	assert_true(ring_followers(&ring));
	ring_forget_followers(&ring);
	assert_false(ring_followers(&ring));
	assert_int_equal(ring_copy(&ring, &pos, buf, sizeof(buf), NULL), 9);
	assert_memory_equal(buf, "onetwosix", 9);
	close(p[1]);
	assert_int_equal(pump_read(p[0], &ring, wake), -EIO);
	close(p[0]);
	close(wake);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(sizes),  TEST(followed),	TEST(wraps),   TEST(overtaken), TEST(never_torn),
		TEST(replay), TEST(only_rings), TEST(hostile), TEST(pumped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
