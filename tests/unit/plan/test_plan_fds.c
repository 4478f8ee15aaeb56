/* SPDX-License-Identifier: MIT */
/* put_fds(): descriptions apart from the descriptors that refer to them; plan_build(): one process and no more */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/fd.h"
#include "snapshot/plan/plan_internal.h"

enum { COUNTER, READER, WRITER, WATCH, LOST, NDESCRIPTIONS };

static struct model_description descriptions[NDESCRIPTIONS] = {
	[COUNTER] = { .kind = MODEL_FD_EVENTFD, .peer = MODEL_NONE, .eventfd = { .count = 3 } },
	[READER] = { .kind = MODEL_FD_PIPE,
		     .peer = WRITER,
		     .flags = O_RDONLY,
		     .data = "queued",
		     .data_len = 6 },
	[WRITER] = { .kind = MODEL_FD_PIPE, .peer = READER, .flags = O_WRONLY | O_NONBLOCK },
	[WATCH] = { .kind = MODEL_FD_EPOLL, .peer = -1 },
	[LOST] = { .kind = MODEL_FD_PIPE, .peer = -1, .flags = O_WRONLY },
};
static struct model_fd fds[] = {
	{ 5, COUNTER, false }, { 6, WRITER, false }, { 7, COUNTER, true },  { 8, READER, false },
	{ 9, WATCH, true },    { 11, LOST, false },  { 12, READER, false },
};
static struct model_epoll watched[] = {
	{ .description = WATCH, .fd = 7, .target = COUNTER, .events = 1, .data = 77 },
	{ .description = WATCH, .fd = 0, .target = MODEL_NONE, .events = 4, .data = 78 },
};
static struct model_fd_table table = { .fds = fds, .nfds = ARRAY_SIZE(fds) };
static struct model_process process;
static struct model rec = {
	.descriptions = descriptions,
	.ndescriptions = NDESCRIPTIONS,
	.epolls = watched,
	.nepolls = ARRAY_SIZE(watched),
	.fd_tables = &table,
	.nfd_tables = 1,
	.processes = &process,
	.nprocesses = 1,
};
static struct image im;

static int setup(void **state)
{
	(void)state;
	memset(&im, 0, sizeof(im));
	image_reserve(&im, sizeof(struct stub_data), 64);
	image_head(&im)->processes = image_reserve(&im, sizeof(struct stub_process), 64);
	return im.failed ? -1 : 0;
}

static int teardown(void **state)
{
	(void)state;
	free(im.v);
	return 0;
}

static const struct stub_fd *descriptor(int32_t fd)
{
	const struct stub_fd *f = (const struct stub_fd *)(im.v + image_process(&im)->fds);

	for (uint32_t i = 0; i < image_process(&im)->nfds; i++)
		if (f[i].fd == fd)
			return &f[i];
	fail_msg("descriptor %d is not there", fd);
	return NULL;
}

static const struct stub_description *description(uint32_t index)
{
	assert_true(index < image_head(&im)->ndescriptions);
	return (const struct stub_description *)(im.v + image_head(&im)->descriptions) + index;
}

static void duplicates_share_a_description(void **state)
{
	(void)state;
	put_descriptions(&im, &rec);
	assert_int_equal(put_fds(&im, &rec, &process), 0);
	assert_int_equal(image_head(&im)->ndescriptions, NDESCRIPTIONS);
	assert_int_equal(image_process(&im)->nfds, ARRAY_SIZE(fds));
	assert_int_equal(descriptor(5)->description, descriptor(7)->description);
	assert_int_equal(descriptor(5)->same, -1);
	assert_int_equal(descriptor(7)->same, 5);
	assert_int_equal(descriptor(12)->same, 8);
	assert_int_equal(descriptor(5)->cloexec, 0);
	assert_int_equal(descriptor(7)->cloexec, 1);
	assert_int_equal(description(descriptor(5)->description)->a, 3);
}

static void ends_of_a_pipe_know_each_other(void **state)
{
	const struct stub_description *reader, *writer;

	(void)state;
	put_descriptions(&im, &rec);
	assert_int_equal(put_fds(&im, &rec, &process), 0);
	reader = description(descriptor(8)->description);
	writer = description(descriptor(6)->description);
	assert_ptr_equal(description(reader->peer), writer);
	assert_ptr_equal(description(writer->peer), reader);
	assert_int_equal(descriptor(6)->peer, 8);
	assert_int_equal(descriptor(8)->peer, 6);
	assert_int_equal(reader->data_len, 6);
	assert_memory_equal(im.v + reader->data, "queued", 6);
	assert_int_equal(writer->data_len, 0);
	assert_int_equal(writer->flags, O_WRONLY | O_NONBLOCK);
	/* the other end of this one is closed */
	assert_int_equal(description(descriptor(11)->description)->peer, STUB_NONE);
	assert_int_equal(descriptor(11)->peer, -1);
}

static void an_epoll_watches_descriptions(void **state)
{
	const struct stub_epoll *e;

	(void)state;
	put_descriptions(&im, &rec);
	assert_int_equal(put_fds(&im, &rec, &process), 0);
	e = (const struct stub_epoll *)(im.v + image_head(&im)->epolls);
	assert_int_equal(image_head(&im)->nepolls, 2);
	assert_int_equal(e[0].epfd, 9);
	assert_int_equal(e[0].fd, 7);
	assert_int_equal(e[0].target, COUNTER);
	assert_int_equal(e[0].process, 0);
	assert_int_equal(e[0].data, 77);
	/* what the caller has there */
	assert_int_equal(e[1].target, STUB_NONE);
}

static void many_have_room_of_their_own(void **state)
{
	const size_t n = STUB_FDS_IN_LAUNCH + 1;
	struct model_description *more = calloc(n, sizeof(*more));
	struct model_fd *numbers = calloc(n, sizeof(*numbers));
	struct model_fd_table t = { .fds = numbers, .nfds = n };
	struct model r = { .descriptions = more, .ndescriptions = n, .fd_tables = &t, .nfd_tables = 1 };

	(void)state;
	for (size_t i = 0; i < n; i++) {
		more[i] = (struct model_description){ .kind = MODEL_FD_EVENTFD, .peer = -1 };
		numbers[i] = (struct model_fd){ (int)i + 3, (int)i, false };
	}
	put_descriptions(&im, &r);
	assert_int_equal(put_fds(&im, &r, &process), 0);
	assert_true(image_process(&im)->fd_room && image_process(&im)->fd_room + 4 * n <= im.len);
	free(more);
	free(numbers);
}

static void trees_are_refused(void **state)
{
	struct model *tree = model_new(2);
	const struct page_source source = page_source_file(-EBADF);
	const struct model_files files = { 0 };
	struct plan_options o = { 0 };
	struct plan plan;
	struct error err;

	(void)state;
	assert_non_null(tree);
	assert_int_equal(plan_build(tree, &files, &source, &o, &plan, &err), -EOPNOTSUPP);
	assert_non_null(strstr(err.text, "2 processes"));
	model_free(tree);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(duplicates_share_a_description),
		T(ends_of_a_pipe_know_each_other),
		T(an_epoll_watches_descriptions),
		T(many_have_room_of_their_own),
		T(trees_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
