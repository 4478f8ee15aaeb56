/* SPDX-License-Identifier: MIT */
/* image_open.c - image_open(): a manifest, and the page file that it tells of */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "engine/base/fd.h"
#include "snapshot/image/image_codec.h"
#include "snapshot/image/image_folder.h"
#include "snapshot/image/image_internal.h"

#define PAGES_NAME "pages-1.img"

/*
 * An unpacked message is larger than its bytes, a message without fields (two bytes) more than 100 times. What is
 * unpacked of one manifest may have that many times its size, so that a small file cannot ask for a large memory.
 */
#define BUDGET_FACTOR 160
/* likewise of the model that is made of it; signal handlers that are all at their default are 8 times as large */
#define MODEL_FACTOR 64

struct image {
	struct model *model;
	int pages;
	void *facts; /* NULL: none */
	size_t facts_size;
	char *version, *architecture, *kernel, *processor;
	uint64_t vdso; /* checksum */
	struct image_info info;
};

struct budget {
	ProtobufCAllocator allocator; /* first, as it is what protobuf-c hands around */
	size_t left; /* bytes */
};

static void *budget_get(void *data, size_t size)
{
	struct budget *b = data;

	if (size > b->left)
		return NULL;
	b->left -= size;
	return malloc(size);
}

static void budget_put(void *data, void *memory)
{
	(void)data;
	free(memory);
}

static void budget_init(struct budget *b, size_t size)
{
	b->allocator = (ProtobufCAllocator){ budget_get, budget_put, b };
	b->left = size * BUDGET_FACTOR + 4096;
}

static int damaged(struct error *err, const char *what)
{
	return error_set(err, EBADMSG, "it is damaged: %s", what);
}

/* the outer message. @ret: freed with the same allocator */
static int unpack_manifest(const void *bytes, size_t size, struct budget *b, Image__Manifest **ret,
			   struct error *err)
{
	Image__Manifest *m = image__manifest__unpack(&b->allocator, size, bytes);
	int r = 0;

	if (!m)
		return damaged(err, "it is no protobuf of a manifest");
	if (m->magic != IMAGE_MAGIC)
		r = damaged(err, "it does not begin as a manifest does");
	else if (m->format != IMAGE_FORMAT)
		r = error_set(err, EOPNOTSUPP, "it has format %u, and this warm reads format %u alone",
			      m->format, IMAGE_FORMAT);
	else if (m->base.n_unknown_fields)
		r = damaged(err, "it has fields that no manifest has");
	else if (image_checksum(m->body.data, m->body.len) != m->checksum)
		r = damaged(err, "the checksum is another");
	if (r < 0)
		image__manifest__free_unpacked(m, &b->allocator);
	else
		*ret = m;
	return r;
}

/* can this machine make use of it? */
static int check_machine(const Image__Body *body, struct error *err)
{
	long page = sysconf(_SC_PAGESIZE);
	struct utsname system;

	if (uname(&system) < 0)
		return error_errno(err, errno, "uname");
	if (body->byte_order != IMAGE_BYTE_ORDER)
		return error_set(err, EOPNOTSUPP, "it was written on a machine of another byte order");
	if (strcmp(body->architecture, system.machine) != 0)
		return error_set(err, EOPNOTSUPP,
				 "it is of a machine of architecture '%.32s', and this is '%s'",
				 body->architecture, system.machine);
	if (body->page_size != (uint32_t)page)
		return error_set(err, EOPNOTSUPP,
				 "it is of a machine with pages of %u bytes, and this has %ld",
				 body->page_size, page);
	return 0;
}

/* does each page of the model that lies in the page file lie within it? */
static int check_offsets(const struct model *m, uint64_t size, struct error *err)
{
	for (size_t i = 0; i < m->nspaces; i++)
		for (size_t j = 0; j < m->spaces[i].nvmas; j++) {
			const struct model_vma *v = &m->spaces[i].vmas[j];

			for (size_t k = 0; k < v->nruns; k++) {
				const struct model_run *r = &v->runs[k];

				if (r->offset != MODEL_NO_OFFSET &&
				    (r->offset > size || r->end - r->start > size - r->offset))
					return damaged(err, "it has pages beyond the end of its page file");
			}
		}
	return 0;
}

/* @ret_chunks: the caller frees its list */
static int take_file(const Image__Body *body, struct image *image, struct image_chunks *ret_chunks,
		     struct error *err)
{
	const Image__PageFile *file = body->n_files == 1 ? body->files[0] : NULL;
	int r;

	if (!file || strcmp(file->name, PAGES_NAME) != 0)
		return damaged(err, "it has other page files than " PAGES_NAME);
	image->info.pages_size = file->size;
	image->info.pages_stored = file->stored;
	r = check_offsets(image->model, file->size, err);
	return r < 0 ? r : image_decode_file(file, body->page_size, ret_chunks, err);
}

static int open_pages(int folder, const struct image_chunks *chunks, unsigned int flags, struct image *image,
		      struct error *err)
{
	uint64_t size, want = image->info.pages_size;

	image->pages = image_folder_file(folder, PAGES_NAME, &size, err);
	if (image->pages < 0)
		return image->pages;
	if (size != want)
		return error_set(err, EBADMSG,
				 PAGES_NAME " is damaged: it has %" PRIu64
					    " bytes, and the manifest says %" PRIu64,
				 size, want);
	return flags & IMAGE_VERIFY ? image_pages_verify(image->pages, PAGES_NAME, size, chunks, err) : 0;
}

static int take_body(const Image__Body *body, size_t model_limit, struct image *image, struct error *err)
{
	image->version = strdup(body->version);
	image->architecture = strdup(body->architecture);
	if (!body->machine)
		return damaged(err, "it does not say of which machine it is");
	image->kernel = strdup(body->machine->kernel);
	image->processor = strdup(body->machine->processor);
	image->vdso = body->machine->vdso;
	if (body->facts.len) {
		image->facts = malloc(body->facts.len);
		if (image->facts)
			memcpy(image->facts, body->facts.data, body->facts.len);
		image->facts_size = body->facts.len;
	}
	if (!image->version || !image->architecture || !image->kernel || !image->processor ||
	    (image->facts_size && !image->facts))
		return error_set(err, ENOMEM, "no memory");
	image->info.version = image->version;
	image->info.architecture = image->architecture;
	image->info.kernel = image->kernel;
	image->info.processor = image->processor;
	image->info.format = IMAGE_FORMAT;
	image->info.page_size = body->page_size;
	image->info.created_ns = body->created_ns;
	if (!body->model)
		return damaged(err, "it has no model");
	return image_decode_model(body->model, model_limit, body->page_size, &image->model, err);
}

/* @folder: -EBADF: of a manifest alone */
static int unpack(const void *bytes, size_t size, int folder, unsigned int flags, struct image *image,
		  struct error *err)
{
	Image__Manifest *manifest = NULL;
	struct image_chunks chunks = { 0 };
	Image__Body *body = NULL;
	struct error why = { 0 };
	struct budget budget;
	int r;

	budget_init(&budget, size);
	r = unpack_manifest(bytes, size, &budget, &manifest, &why);
	if (r == 0) {
		body = image__body__unpack(&budget.allocator, manifest->body.len, manifest->body.data);
		image__manifest__free_unpacked(manifest, &budget.allocator);
		r = body ? check_machine(body, &why) : damaged(&why, "it is no protobuf of an image");
	}
	image->info.manifest_size = size;
	if (r == 0)
		r = take_body(body, size * MODEL_FACTOR + 4096, image, &why);
	if (r == 0)
		r = take_file(body, image, &chunks, &why);
	if (body)
		image__body__free_unpacked(body, &budget.allocator);
	if (r < 0)
		error_set(err, r, IMAGE_MANIFEST ": %s", why.text);
	else if (folder >= 0)
		r = open_pages(folder, &chunks, flags, image, err);
	free(chunks.list);
	return r;
}

static int read_manifest(int folder, void **ret_bytes, size_t *ret_size, struct error *err)
{
	uint64_t size;
	_cleanup_close_ int fd = image_folder_file(folder, IMAGE_MANIFEST, &size, err);
	_cleanup_free_ void *bytes = NULL;
	int r;

	if (fd < 0)
		return fd;
	if (size > IMAGE_MANIFEST_MAX)
		return error_set(err, EBADMSG,
				 IMAGE_MANIFEST " has %" PRIu64 " bytes, and no image's has more than %u",
				 size, IMAGE_MANIFEST_MAX);
	bytes = malloc(size ? size : 1);
	if (!bytes)
		return error_set(err, ENOMEM, "no memory");
	r = pread_full(fd, bytes, size, 0);
	if (r < 0)
		return error_errno(err, r, IMAGE_MANIFEST " cannot be read");
	*ret_bytes = TAKE_PTR(bytes);
	*ret_size = size;
	return 0;
}

int image_open(int dirfd, const char *path, unsigned int flags, struct image **ret, struct error *err)
{
	_cleanup_(image_freep) struct image *image = calloc(1, sizeof(*image));
	_cleanup_close_ int folder = -EBADF;
	_cleanup_free_ void *bytes = NULL;
	struct error why = { 0 };
	size_t size = 0;
	int r;

	if (!image)
		return error_set(err, ENOMEM, "no memory");
	image->pages = -EBADF;
	folder = image_folder_open(dirfd, path, err);
	if (folder < 0)
		return folder;
	r = read_manifest(folder, &bytes, &size, &why);
	if (r == 0)
		r = unpack(bytes, size, folder, flags, image, &why);
	if (r < 0)
		return error_set(err, r, "the image '%s' is not used: %s", path, why.text);
	*ret = TAKE_PTR(image);
	return 0;
}

int image_parse(const void *bytes, size_t size, struct image **ret, struct error *err)
{
	_cleanup_(image_freep) struct image *image = calloc(1, sizeof(*image));
	int r;

	if (!image)
		return error_set(err, ENOMEM, "no memory");
	image->pages = -EBADF;
	r = unpack(bytes, size, -EBADF, 0, image, err);
	if (r == 0)
		*ret = TAKE_PTR(image);
	return r;
}

void image_free(struct image *image)
{
	if (!image)
		return;
	model_free(image->model);
	fd_close(image->pages);
	free(image->facts);
	free(image->version);
	free(image->architecture);
	free(image->kernel);
	free(image->processor);
	free(image);
}

const struct model *image_model(const struct image *image)
{
	return image->model;
}

struct model *image_take_model(struct image *image)
{
	return TAKE_PTR(image->model);
}

int image_pages(const struct image *image)
{
	return image->pages;
}

const void *image_facts(const struct image *image, size_t *ret_size)
{
	*ret_size = image->facts_size;
	return image->facts;
}

struct image_info image_info(const struct image *image)
{
	return image->info;
}

int image_check_machine(const struct image *image, struct error *err)
{
	return image_machine_differs(image->kernel, image->vdso, image->processor, err);
}
