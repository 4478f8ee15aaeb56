/* SPDX-License-Identifier: MIT */
/* codec_memory.c - mapped files and address spaces */
#include "snapshot/image/image_codec.h"

#include <string.h>

#define OBJECT_NUMBERS(_) _(dev) _(ino) _(size) _(mtime_ns) _(writable)
#define VMA_NUMBERS(_)	  _(start) _(end) _(offset) _(prot) _(vmflags) _(shared) _(object)
#define PART_NUMBERS(_)	  _(addr) _(len) _(from_vdso)
#define MM_NUMBERS(_)	  _(start_code) _(end_code) _(start_data) _(end_data) _(start_brk) _(brk) _(start_stack)
#define OWNER_NUMBERS(_)  _(addr) _(thread)
#define SPACE_NUMBERS(_)  _(vdso_addr) _(exe_object)

/* numbers of a run, and of a guarded range, in their lists */
#define RUN_WORDS   3
#define GUARD_WORDS 2

static void put_object(const struct model_object *from, Image__Object *to)
{
	OBJECT_NUMBERS(PUT)
	to->path = codec_put_text(from->path);
	to->build_id = codec_put_bytes(from->build_id, from->build_id_len);
}

static void take_object(struct decoder *d, const Image__Object *from, struct model_object *to)
{
	OBJECT_NUMBERS(TAKE)
	to->path = codec_take_text_there(d, from->path, "the path of a file");
	if (from->build_id.len > sizeof(to->build_id)) {
		decoder_bad(d, "the build-id of a file is too long");
		return;
	}
	to->build_id_len = (uint32_t)from->build_id.len;
	if (to->build_id_len)
		memcpy(to->build_id, from->build_id.data, to->build_id_len);
}

/* @words numbers of each run: start, end, and its offset if there is a third */
static uint64_t *put_runs(struct arena *arena, const struct model_run *runs, size_t n, size_t words)
{
	uint64_t *list = arena_get(arena, n, words * sizeof(*list));

	for (size_t i = 0; list && i < n; i++) {
		list[i * words] = runs[i].start;
		list[i * words + 1] = runs[i].end;
		if (words == RUN_WORDS)
			list[i * words + 2] = runs[i].offset;
	}
	return list;
}

static struct model_run *take_runs(struct decoder *d, size_t n, const uint64_t *list, size_t words,
				   size_t *ret_n)
{
	struct model_run *runs = codec_take_list(d, n / words, sizeof(*runs), ret_n);

	if (n % words)
		decoder_bad(d, "half a run of pages");
	for (size_t i = 0; i < *ret_n; i++) {
		runs[i].start = list[i * words];
		runs[i].end = list[i * words + 1];
		runs[i].offset = words == RUN_WORDS ? list[i * words + 2] : MODEL_NO_OFFSET;
	}
	return runs;
}

static void put_vma(struct arena *arena, const struct model_vma *from, Image__Vma *to)
{
	VMA_NUMBERS(PUT)
	to->name = codec_put_text(from->name);
	to->runs = put_runs(arena, from->runs, from->nruns, RUN_WORDS);
	to->n_runs = to->runs ? from->nruns * RUN_WORDS : 0;
	to->guards = put_runs(arena, from->guards, from->nguards, GUARD_WORDS);
	to->n_guards = to->guards ? from->nguards * GUARD_WORDS : 0;
}

static void take_vma(struct decoder *d, const Image__Vma *from, struct model_vma *to)
{
	VMA_NUMBERS(TAKE)
	to->name = codec_take_text_there(d, from->name, "the name of a mapping");
	to->runs = take_runs(d, from->n_runs, from->runs, RUN_WORDS, &to->nruns);
	to->guards = take_runs(d, from->n_guards, from->guards, GUARD_WORDS, &to->nguards);
}

static void put_mm(const struct model_mm *from, Image__Mm *to)
{
	MM_NUMBERS(PUT)
}

static void take_mm(struct decoder *d, const Image__Mm *from, struct model_mm *to)
{
	MM_NUMBERS(TAKE)
}

static void put_part(const struct model_vdso_part *from, Image__VdsoPart *to)
{
	PART_NUMBERS(PUT)
}

static void take_part(struct decoder *d, const Image__VdsoPart *from, struct model_vdso_part *to)
{
	PART_NUMBERS(TAKE)
}

static void put_owner(const struct model_owner *from, Image__Owner *to)
{
	OWNER_NUMBERS(PUT)
}

static void take_owner(struct decoder *d, const Image__Owner *from, struct model_owner *to)
{
	OWNER_NUMBERS(TAKE)
}

static void put_space(struct arena *arena, const struct model_space *from, Image__Space *to)
{
	SPACE_NUMBERS(PUT)
	PUT_LIST(arena, to, vmas, from->nvmas, vma);
	for (size_t i = 0; i < to->n_vmas; i++)
		put_vma(arena, &from->vmas[i], to->vmas[i]);
	PUT_ONE(arena, to->mm, mm);
	if (to->mm)
		put_mm(&from->mm, to->mm);
	to->auxv = codec_put_bytes(from->auxv, from->auxv_len);
	PUT_LIST(arena, to, vdso, MODEL_VDSO_PARTS, vdso_part);
	for (size_t i = 0; i < to->n_vdso; i++)
		put_part(&from->vdso[i], to->vdso[i]);
	PUT_WORDS(to, pids, from->pids, from->npids);
	PUT_WORDS(to, generations, from->generations, from->ngenerations);
	PUT_LIST(arena, to, owners, from->nowners, owner);
	for (size_t i = 0; i < to->n_owners; i++)
		put_owner(&from->owners[i], to->owners[i]);
}

static uint64_t *take_addresses(struct decoder *d, size_t n, const uint64_t *from, size_t *ret_n)
{
	uint64_t *list = codec_take_list(d, n, sizeof(*list), ret_n);

	return list ? memcpy(list, from, n * sizeof(*list)) : NULL;
}

static void take_space(struct decoder *d, const Image__Space *from, struct model_space *to)
{
	SPACE_NUMBERS(TAKE)
	to->vmas = codec_take_list(d, from->n_vmas, sizeof(*to->vmas), &to->nvmas);
	for (size_t i = 0; i < to->nvmas; i++)
		take_vma(d, from->vmas[i], &to->vmas[i]);
	if (from->mm)
		take_mm(d, from->mm, &to->mm);
	else
		decoder_bad(d, "an address space without its bounds");
	to->auxv = codec_take_bytes(d, from->auxv, &to->auxv_len);
	if (from->n_vdso != MODEL_VDSO_PARTS)
		decoder_bad(d, "the parts of a vDSO");
	for (size_t i = 0; i < from->n_vdso && i < MODEL_VDSO_PARTS; i++)
		take_part(d, from->vdso[i], &to->vdso[i]);
	to->pids = take_addresses(d, from->n_pids, from->pids, &to->npids);
	to->generations = take_addresses(d, from->n_generations, from->generations, &to->ngenerations);
	to->owners = codec_take_list(d, from->n_owners, sizeof(*to->owners), &to->nowners);
	for (size_t i = 0; i < to->nowners; i++)
		take_owner(d, from->owners[i], &to->owners[i]);
}

void codec_put_memory(struct arena *arena, const struct model *from, Image__Model *to)
{
	PUT_LIST(arena, to, objects, from->nobjects, object);
	for (size_t i = 0; i < to->n_objects; i++)
		put_object(&from->objects[i], to->objects[i]);
	PUT_LIST(arena, to, spaces, from->nspaces, space);
	for (size_t i = 0; i < to->n_spaces; i++)
		put_space(arena, &from->spaces[i], to->spaces[i]);
}

void codec_take_memory(struct decoder *d, const Image__Model *from, struct model *to)
{
	to->objects = codec_take_list(d, from->n_objects, sizeof(*to->objects), &to->nobjects);
	for (size_t i = 0; i < to->nobjects; i++)
		take_object(d, from->objects[i], &to->objects[i]);
	to->spaces = codec_take_list(d, from->n_spaces, sizeof(*to->spaces), &to->nspaces);
	for (size_t i = 0; i < to->nspaces; i++)
		take_space(d, from->spaces[i], &to->spaces[i]);
}
