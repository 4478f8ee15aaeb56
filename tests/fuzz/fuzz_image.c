/* SPDX-License-Identifier: MIT */
/*
 * fuzz_image.c - manifests of images. The first byte of an input is 0: the rest is a whole manifest.pb; else it is a body, and
 * gets a manifest whose checksum is right, or no input would come further than that. What is taken must be written to the same
 * model again.
 */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "engine/base/fd.h"
#include "snapshot/image/image_codec.h"
#include "snapshot/plan/plan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void expect(int truth)
{
	if (!truth)
		abort();
}

/* Return: the model in protobuf, malloc'd */
static uint8_t *encoded(const struct model *model, size_t *ret_size)
{
	struct arena arena = ARENA_UNLIMITED;
	Image__Model *message;
	uint8_t *bytes;

	expect(image_encode_model(&arena, model, &message, NULL) == 0);
	*ret_size = image__model__get_packed_size(message);
	bytes = malloc(*ret_size + 1);
	expect(bytes != NULL);
	image__model__pack(message, bytes);
	arena_done(&arena);
	return bytes;
}

static void there_and_back(const struct model *model)
{
	size_t size, again_size;
	uint8_t *bytes = encoded(model, &size), *again;
	Image__Model *message = image__model__unpack(NULL, size, bytes);
	struct error err = { 0 };
	struct model *second;

	expect(message != NULL);
	expect(image_decode_model(message, SIZE_MAX, (uint64_t)sysconf(_SC_PAGESIZE), &second, &err) == 0);
	again = encoded(second, &again_size);
	expect(size == again_size && memcmp(bytes, again, size) == 0);
	image__model__free_unpacked(message, NULL);
	model_free(second);
	free(bytes);
	free(again);
}

/* what a restore does next: whatever the model says, there is a plan or an error. Nothing of the page file is read */
static void planned(struct model *model)
{
	const struct plan_options options = { .join_text = true };
	const int page_file = memfd_create("fuzz", MFD_CLOEXEC);
	const struct page_source source = page_source_file(page_file);
	struct model_files files = { calloc(model->nobjects + 1, sizeof(int)), model->nobjects };
	struct error err = { 0 };
	struct plan plan;

	expect(page_file >= 0 && files.fds);
	for (size_t i = 0; i < files.n; i++)
		files.fds[i] = -EBADF;
	if (plan_build(model, &files, &source, &options, &plan, &err) == 0)
		plan_done(&plan);
	else
		expect(err.text[0] != '\0');
	model_files_done(&files);
	close(page_file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct model *model;
	Image__Manifest manifest = IMAGE__MANIFEST__INIT;
	_cleanup_(image_freep) struct image *image = NULL;
	_cleanup_free_ uint8_t *whole = NULL;
	struct error err = { 0 };
	int r;

	if (size == 0)
		return 0;
	if (data[0]) {
		manifest.magic = 0x474d4957;
		manifest.format = IMAGE_FORMAT;
		manifest.body = (ProtobufCBinaryData){ size - 1, (uint8_t *)data + 1 };
		manifest.checksum = image_checksum(data + 1, size - 1);
		size = image__manifest__get_packed_size(&manifest);
		whole = malloc(size);
		expect(whole != NULL);
		image__manifest__pack(&manifest, whole);
		r = image_parse(whole, size, &image, &err);
	} else {
		r = image_parse(data + 1, size - 1, &image, &err);
	}
	expect((r == 0) == (image != NULL));
	if (r < 0) {
		expect(err.text[0] != '\0');
		return 0;
	}
	there_and_back(image_model(image));
	model = image_take_model(image);
	planned(model);
	model_free(model);
	return 0;
}
