/* SPDX-License-Identifier: MIT */
/*
 * image_codec.h - between the model and its protobuf (model.proto, image.proto), both ways
 *
 * Each codec_*.c has a part of the model, with its encoding (put_) and its decoding (take_) side by side. Numbers of one
 * struct are listed once, as NAME_NUMBERS(_), and go both ways by that list.
 *
 * Encoding makes messages in an arena, and points into the model where it can. Decoding takes unpacked messages for
 * hostile: each number has to fit its field, each enum has to be one that is known, text has its NUL, structs have their size,
 * and lists have the lengths of those that were unpacked, which the size of the file bounds. What a model as a whole has to be
 * is model_check()'s. The first thing that is wrong is kept, and the rest of the work then only has to be harmless.
 */
#ifndef WARM_SNAPSHOT_IMAGE_IMAGE_CODEC_H
#define WARM_SNAPSHOT_IMAGE_IMAGE_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/base/error.h"
#include "snapshot/image/image.pb-c.h"
#include "snapshot/image/image_internal.h"
#include "snapshot/model/model.h"

#define IMAGE_BYTE_ORDER   0x01020304u
#define IMAGE_MANIFEST_MAX (256u << 20) /* bytes */

/* --- image_arena.c: memory that is freed at once --------------------------------- */

struct arena {
	struct arena_block *blocks;
	size_t left; /* bytes that it may still get */
	bool failed; /* something did not get its memory: NULL was returned */
	bool full; /* and that was for want of @left */
};

#define ARENA_UNLIMITED                                                                                      \
	{                                                                                                    \
		.left = SIZE_MAX                                                                             \
	}

/** arena_get() - @count * @size zero bytes, aligned for any type. Return: NULL, and failed is set, when there is no memory */
void *arena_get(struct arena *arena, size_t count, size_t size);
/** arena_text() - a copy of @text. Return: as arena_get() */
char *arena_text(struct arena *arena, const char *text);
/** arena_messages() - @n pointers to messages that are initialised. Return: as arena_get() */
void *arena_messages(struct arena *arena, size_t n, const ProtobufCMessageDescriptor *type);
void arena_done(struct arena *arena);

/* --- encoding --------------------------------------------------------------------- */

/** codec_put_text() - text with its NUL; NULL: no bytes */
ProtobufCBinaryData codec_put_text(const char *text);
ProtobufCBinaryData codec_put_bytes(const void *bytes, size_t size);
/** codec_put_texts() - a list of text */
void codec_put_texts(struct arena *arena, char *const *list, size_t n, ProtobufCBinaryData **ret,
		     size_t *ret_n);

/* a message of its own, or a list of them; after these, `arena->failed` tells whether they are there */
#define PUT_ONE(arena, to, type) ((to) = codec_put_one(arena, &image__##type##__descriptor))
#define PUT_LIST(arena, to, list, n, type)                                                                   \
	((to)->list = arena_messages(arena, n, &image__##type##__descriptor),                                \
	 (to)->n_##list = (to)->list ? (n) : 0)
void *codec_put_one(struct arena *arena, const ProtobufCMessageDescriptor *type);

/* an array of numbers, to which the message points */
#define PUT_WORDS(to, list, words, n) ((to)->list = (uint64_t *)(words), (to)->n_##list = (n))

/* for NAME_NUMBERS(PUT) with a `from` and a `to` */
#define PUT(field) to->field = from->field;

/* --- decoding --------------------------------------------------------------------- */

struct decoder {
	struct arena *arena;
	struct error why; /* code 0: nothing is wrong so far */
};

/** decoder_bad() - @what is wrong; only the first such thing counts */
void decoder_bad(struct decoder *d, const char *what);

/** codec_take_list() - room for @n items of @size bytes. Return: NULL: there are none, or no memory */
void *codec_take_list(struct decoder *d, size_t n, size_t size, size_t *ret_n);
/** codec_take_text() - a copy. Return: NULL: none, or it is wrong */
char *codec_take_text(struct decoder *d, ProtobufCBinaryData from, const char *what);
/** codec_take_text_there() - the same, where there has to be one. Return: "" if it is wrong, never NULL */
char *codec_take_text_there(struct decoder *d, ProtobufCBinaryData from, const char *what);
/** codec_take_texts() - a list of text, with a NULL behind the last. Return: NULL: no memory */
char **codec_take_texts(struct decoder *d, size_t n, const ProtobufCBinaryData *from, const char *what);
/** codec_take_bytes() - a copy. Return: NULL: none, or no memory */
void *codec_take_bytes(struct decoder *d, ProtobufCBinaryData from, size_t *ret_size);
/** codec_take_struct() - bytes of exactly @size */
void codec_take_struct(struct decoder *d, void *to, size_t size, ProtobufCBinaryData from, const char *what);
/** codec_take_words() - exactly @want numbers */
void codec_take_words(struct decoder *d, uint64_t *to, size_t want, size_t n, const uint64_t *from,
		      const char *what);

/* a number that has to fit; for NAME_NUMBERS(TAKE) with a `d`, a `from` and a `to` */
#define TAKE_NUMBER(d, to, from)                                                                             \
	do {                                                                                                 \
		(to) = (__typeof__(to))(from);                                                               \
		if ((__typeof__(from))(to) != (from))                                                        \
			decoder_bad(d, "a number does not fit: " #to);                                       \
	} while (0)
#define TAKE(field) TAKE_NUMBER(d, to->field, from->field);

/** codec_take_choice() - an enum. Return: 0 if it is none of its @n values */
unsigned int codec_take_choice(struct decoder *d, uint32_t from, unsigned int n, const char *what);

/* --- the parts ---------------------------------------------------------------------- */

void codec_put_memory(struct arena *arena, const struct model *from, Image__Model *to);
void codec_take_memory(struct decoder *d, const Image__Model *from, struct model *to);
void codec_put_descriptors(struct arena *arena, const struct model *from, Image__Model *to);
void codec_take_descriptors(struct decoder *d, const Image__Model *from, struct model *to);
void codec_put_processes(struct arena *arena, const struct model *from, Image__Model *to);
void codec_take_processes(struct decoder *d, const Image__Model *from, struct model *to);
void codec_put_threads(struct arena *arena, const struct model_process *from, Image__Process *to);
void codec_take_threads(struct decoder *d, const Image__Process *from, struct model_process *to);
void codec_put_entry(struct arena *arena, const struct model_entry *from, Image__Entry *to);
void codec_take_entry(struct decoder *d, const Image__Entry *from, struct model_entry *to);

/* --- image_codec.c -------------------------------------------------------------------- */

int image_encode_file(struct arena *arena, const char *name, uint64_t size, const struct image_chunks *chunks,
		      Image__PageFile **ret, struct error *err);
int image_encode_machine(struct arena *arena, Image__Machine **ret, struct error *err);
int image_encode_model(struct arena *arena, const struct model *model, Image__Model **ret, struct error *err);

/**
 * image_machine_differs() - could a program of that machine not go on here?
 * Return: 0: it can; -EOPNOTSUPP with *err set: why not; another negative errno
 */
int image_machine_differs(const char *kernel, uint64_t vdso, const char *processor, struct error *err);

/**
 * image_decode_file() - the chunks of a page file
 * @page: page size in bytes
 * @ret: the caller frees its list
 * Return: 0; -EBADMSG with *err set: an offset, length or size makes no sense
 */
int image_decode_file(const Image__PageFile *file, uint64_t page, struct image_chunks *ret,
		      struct error *err);

/**
 * image_decode_model() - the model of an image
 * @limit: bytes that it may take
 * @page: page size in bytes
 * @ret: freed by the caller with model_free(); model_check() has taken it
 * Return: 0; -EBADMSG with *err set: what is wrong; -ENOMEM
 */
int image_decode_model(const Image__Model *message, size_t limit, uint64_t page, struct model **ret,
		       struct error *err);

#endif
