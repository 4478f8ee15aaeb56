/* SPDX-License-Identifier: MIT */
/*
 * image_pages.c - page files: writing and verifying
 *
 * Both go through the file in windows of IMAGE_CHUNK bytes that begin at its multiples, and skip those without data. The
 * part of a window from its first page that is not zero to its last such page is a chunk, and has a checksum.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>
#include <sys/stat.h>

#include "engine/base/array.h"
#include "engine/base/fd.h"
#include "snapshot/image/image_internal.h"
#include "snapshot/model/model.h"

uint64_t image_checksum(const void *bytes, size_t size)
{
	return XXH3_64bits(bytes, size);
}

static bool is_zero(const char *bytes, size_t size)
{
	return size == 0 || (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0);
}

/* Return: where data is at or behind @at; @size: nowhere */
static uint64_t next_data(int fd, uint64_t at, uint64_t size)
{
	off_t data = at < size ? lseek(fd, (off_t)at, SEEK_DATA) : -1;

	if (data < 0)
		/* file systems that cannot tell say EINVAL: there everything is data */
		return at < size && errno != ENXIO ? at : size;
	return (uint64_t)data < size ? (uint64_t)data : size;
}

static uint64_t window_of(uint64_t at)
{
	return at & ~(IMAGE_CHUNK - 1);
}

/* Return: the first window at or behind @at with pages of the template; @size: there is none */
static uint64_t next_window(const struct image_content *c, uint64_t at, uint64_t size)
{
	uint64_t found = next_data(c->pages, at, size);

	for (size_t i = 0; i < c->nhuge_pieces; i++) {
		const struct model_piece *p = &c->huge_pieces[i];

		if (p->offset + p->length > at && (p->offset > at ? p->offset : at) < found)
			found = p->offset > at ? p->offset : at;
	}
	return found < size ? window_of(found) : size;
}

/* @window: bytes of the file from @at on, as they have to be */
static int read_window(const struct image_content *c, uint64_t at, char *window, size_t length,
		       struct error *err)
{
	int r = pread_full(c->pages, window, length, (off_t)at);

	for (size_t i = 0; r == 0 && i < c->nhuge_pieces; i++) {
		const struct model_piece *p = &c->huge_pieces[i];
		uint64_t start = p->offset > at ? p->offset : at, end = p->offset + p->length;

		if (end > at + length)
			end = at + length;
		if (start < end)
			r = pread_full(c->huge, window + (start - at), end - start,
				       (off_t)(p->from + (start - p->offset)));
	}
	return r < 0 ? error_errno(err, r, "reading the pages of the template") : 0;
}

/* write the pages of a window that are not zero, and enter its chunk */
static int write_window(int to, uint64_t at, const char *window, size_t length, struct image_chunks *chunks,
			struct error *err)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE), first = length, last = 0;
	struct image_chunk *chunk;

	for (size_t start = 0, end; start < length; start = end) {
		int r;

		end = start + page;
		if (is_zero(window + start, page))
			continue;
		while (end < length && !is_zero(window + end, page))
			end += page;
		r = pwrite_full(to, window + start, end - start, (off_t)(at + start));
		if (r < 0)
			return error_errno(err, r, "writing pages");
		chunks->stored += end - start;
		first = start < first ? start : first;
		last = end;
	}
	if (first >= last)
		return 0;
	chunk = array_append(&chunks->list, &chunks->count, sizeof(*chunk));
	if (!chunk)
		return error_set(err, ENOMEM, "no memory");
	*chunk = (struct image_chunk){ at + first, last - first,
				       image_checksum(window + first, last - first) };
	return 0;
}

int image_pages_write(int to, const struct image_content *content, struct image_chunks *ret_chunks,
		      uint64_t *ret_size, struct error *err)
{
	_cleanup_free_ char *window = malloc(IMAGE_CHUNK);
	struct image_chunks chunks = { 0 };
	struct stat st;
	uint64_t size;
	int r = 0;

	if (!window)
		return error_set(err, ENOMEM, "no memory");
	if (fstat(content->pages, &st) < 0)
		return error_errno(err, errno, "looking at the pages of the template");
	size = (uint64_t)st.st_size;
	if (size % (uint64_t)sysconf(_SC_PAGESIZE))
		return error_set(err, EINVAL, "the template has a part of a page");
	if (ftruncate(to, st.st_size) < 0)
		return error_errno(err, errno, "making room for pages");
	for (uint64_t at = next_window(content, 0, size); r == 0 && at < size;
	     at = next_window(content, at + IMAGE_CHUNK, size)) {
		size_t length = size - at < IMAGE_CHUNK ? size - at : IMAGE_CHUNK;

		r = read_window(content, at, window, length, err);
		if (r == 0)
			r = write_window(to, at, window, length, &chunks, err);
	}
	if (r < 0) {
		free(chunks.list);
		return r;
	}
	*ret_chunks = chunks;
	*ret_size = size;
	return 0;
}

/* @chunk: the one in this window; NULL: none, so that all of it has to be a hole */
static int verify_window(const char *window, uint64_t at, size_t length, const char *name,
			 const struct image_chunk *chunk, struct error *err)
{
	size_t start = chunk ? chunk->offset - at : length, end = chunk ? start + chunk->length : length;

	if (!is_zero(window, start) || !is_zero(window + end, length - end))
		return error_set(
			err, EBADMSG,
			"%s is damaged between offsets %llu and %llu: it has data where a hole should be",
			name, (unsigned long long)at, (unsigned long long)(at + length));
	if (chunk && image_checksum(window + start, end - start) != chunk->checksum)
		return error_set(
			err, EBADMSG,
			"%s is damaged between offsets %llu and %llu: the checksum is not that of the manifest",
			name, (unsigned long long)chunk->offset,
			(unsigned long long)(chunk->offset + chunk->length));
	return 0;
}

int image_pages_verify(int fd, const char *name, uint64_t size, const struct image_chunks *chunks,
		       struct error *err)
{
	_cleanup_free_ char *window = malloc(IMAGE_CHUNK);
	size_t next = 0;
	int r = 0;

	if (!window)
		return error_set(err, ENOMEM, "no memory");
	for (uint64_t at = 0; r == 0; at += IMAGE_CHUNK) {
		const struct image_chunk *chunk = next < chunks->count ? &chunks->list[next] : NULL;
		size_t length;

		/* the file's end is no window's beginning */
		at = next_data(fd, at, size);
		at = at < size ? window_of(at) : size;
		if (at >= size || (chunk && window_of(chunk->offset) < at))
			at = chunk ? window_of(chunk->offset) : size;
		if (at >= size)
			break;
		length = size - at < IMAGE_CHUNK ? size - at : IMAGE_CHUNK;
		r = pread_full(fd, window, length, (off_t)at);
		if (r < 0)
			return error_errno(err, r, "%s cannot be read at offset %llu", name,
					   (unsigned long long)at);
		if (chunk && window_of(chunk->offset) == at)
			next++;
		else
			chunk = NULL;
		r = verify_window(window, at, length, name, chunk, err);
	}
	return r;
}
