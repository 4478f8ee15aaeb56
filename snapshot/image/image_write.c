/* SPDX-License-Identifier: MIT */
/* image_write.c - image_write(), image_remove(), image_size() */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "engine/base/fd.h"
#include "snapshot/image/image_codec.h"
#include "snapshot/image/image_folder.h"
#include "snapshot/image/image_internal.h"

#define PAGES_NAME "pages-1.img"

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* a file that exceeds RLIMIT_FSIZE: write(2) fails with EFBIG, and without this sends a signal that ends the process */
struct size_signal {
	sigset_t before;
	bool pending; /* already, from elsewhere */
};

static void size_signal_block(struct size_signal *s)
{
	sigset_t set;

	sigpending(&set);
	s->pending = sigismember(&set, SIGXFSZ) == 1;
	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	sigprocmask(SIG_BLOCK, &set, &s->before);
}

static void size_signal_restore(const struct size_signal *s)
{
	const struct timespec at_once = { 0, 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGXFSZ);
	if (!s->pending)
		while (sigtimedwait(&set, NULL, &at_once) < 0 && errno == EINTR)
			;
	sigprocmask(SIG_SETMASK, &s->before, NULL);
}

static int write_pages(const struct image_stage *stage, const struct image_content *content,
		       struct arena *arena, Image__PageFile **ret, struct error *err)
{
	_cleanup_close_ int fd = image_stage_file(stage, PAGES_NAME, err);
	struct image_chunks chunks = { 0 };
	uint64_t size;
	int r = fd < 0 ? fd : image_pages_write(fd, content, &chunks, &size, err);

	if (r == 0 && fsync(fd) < 0)
		r = error_errno(err, errno, "writing to disk");
	if (r == 0)
		r = image_encode_file(arena, PAGES_NAME, size, &chunks, ret, err);
	free(chunks.list);
	return r < 0 ? error_prefix(err, PAGES_NAME) : 0;
}

static int write_manifest(const struct image_stage *stage, Image__Body *body, struct error *err)
{
	Image__Manifest manifest = IMAGE__MANIFEST__INIT;
	size_t size = image__body__get_packed_size(body);
	_cleanup_free_ uint8_t *packed = malloc(size), *whole = NULL;
	_cleanup_close_ int fd = -EBADF;
	int r;

	if (!packed)
		return error_set(err, ENOMEM, "no memory");
	image__body__pack(body, packed);
	manifest.magic = IMAGE_MAGIC;
	manifest.format = IMAGE_FORMAT;
	manifest.checksum = image_checksum(packed, size);
	manifest.body = (ProtobufCBinaryData){ size, packed };
	size = image__manifest__get_packed_size(&manifest);
	if (size > IMAGE_MANIFEST_MAX)
		return error_set(err, EFBIG, "it would have %zu bytes, and at most %zu are read", size,
				 (size_t)IMAGE_MANIFEST_MAX);
	whole = malloc(size);
	if (!whole)
		return error_set(err, ENOMEM, "no memory");
	image__manifest__pack(&manifest, whole);
	fd = image_stage_file(stage, IMAGE_MANIFEST, err);
	if (fd < 0)
		return fd;
	r = write_full(fd, whole, size);
	if (r < 0)
		return error_errno(err, r, "writing it");
	return fsync(fd) < 0 ? error_errno(err, errno, "writing it to disk") : 0;
}

static int write_files(const struct image_stage *stage, const struct image_content *content,
		       struct error *err)
{
	_cleanup_(arena_done) struct arena arena = ARENA_UNLIMITED;
	Image__Body body = IMAGE__BODY__INIT;
	Image__PageFile *file;
	struct utsname system;
	int r = write_pages(stage, content, &arena, &file, err);

	if (r < 0)
		return r;
	if (uname(&system) < 0)
		return error_errno(err, errno, "uname");
	body.version = (char *)WARM_VERSION;
	body.architecture = system.machine;
	body.page_size = (uint32_t)sysconf(_SC_PAGESIZE);
	body.byte_order = IMAGE_BYTE_ORDER;
	body.created_ns = now_ns();
	body.files = &file;
	body.n_files = 1;
	body.facts = (ProtobufCBinaryData){ content->facts_size, (uint8_t *)content->facts };
	r = image_encode_machine(&arena, &body.machine, err);
	if (r == 0)
		r = image_encode_model(&arena, content->model, &body.model, err);
	if (r == 0)
		r = write_manifest(stage, &body, err);
	return r < 0 ? error_prefix(err, IMAGE_MANIFEST) : 0;
}

int image_write(int dirfd, const char *path, const struct image_content *content, struct error *err)
{
	_cleanup_(image_stage_done) struct image_stage stage = IMAGE_STAGE_NONE;
	struct error why = { 0 };
	struct size_signal signal;
	int r;

	/* what no reader would take is not written */
	r = model_check(content->model, (uint64_t)sysconf(_SC_PAGESIZE), err);
	if (r < 0)
		return r;
	size_signal_block(&signal);
	r = image_stage_begin(dirfd, path, &stage, &why);
	if (r == 0)
		r = write_files(&stage, content, &why);
	if (r == 0)
		r = image_stage_commit(&stage, &why);
	size_signal_restore(&signal);
	return r < 0 ? error_set(err, r, "the image '%s' is not written: %s", path, why.text) : 0;
}

int image_size(int dirfd, const char *path, uint64_t *ret_bytes, struct error *err)
{
	static const char *const names[] = { IMAGE_MANIFEST, PAGES_NAME };
	_cleanup_close_ int folder = image_folder_open(dirfd, path, err);
	uint64_t bytes = 0;

	if (folder < 0)
		return folder;
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		struct stat st;

		if (fstatat(folder, names[i], &st, AT_SYMLINK_NOFOLLOW) == 0)
			bytes += (uint64_t)st.st_blocks * 512;
		else if (errno != ENOENT)
			return error_errno(err, errno, "looking at %s of the image '%s'", names[i], path);
	}
	*ret_bytes = bytes;
	return 0;
}

int image_remove(int dirfd, const char *path, struct error *err)
{
	return image_folder_remove(dirfd, path, err);
}
