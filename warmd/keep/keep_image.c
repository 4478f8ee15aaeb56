/* SPDX-License-Identifier: MIT */
/*
 * keep_image.c - what a build made, as an image (snapshot/image/), and back. The image's facts are a struct Kept, whole, behind its checksum
 * (keep_entry.c).
 */
#include "warmd/keep/keep_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/log.h"
#include "snapshot/image/image.h"
#include "snapshot/model/model.h"
#include "warmd/keep/keep_clock.h"

#define PIECE (1u << 20)

void keep_image_remove(int folder, const char *id)
{
	struct error err = { 0 };
	struct stat st;

	if (fstatat(folder, id, &st, AT_SYMLINK_NOFOLLOW) == 0 && image_remove(folder, id, &err) < 0)
		log_warning("%s", err.text);
}

/* --- times ------------------------------------------------------------------------ */

/* where a thread's stack is, old times lie about: of the interpreter's locks, for one */
static bool is_stack(const struct model *m, size_t space, const struct model_vma *v)
{
	for (size_t i = 0; i < m->nprocesses; i++)
		for (size_t t = 0; m->processes[i].space == (int)space && t < m->processes[i].nthreads; t++)
			if (arch_sp(&m->processes[i].threads[t].regs) - v->start < v->end - v->start)
				return true;
	return strcmp(v->name, "[stack]") == 0;
}

/* Return: 0, 1 or a negative errno */
static int run_has_time(int pages, const struct model_run *run, const struct keep_clock *clock, void *buf)
{
	uint64_t size = run->end - run->start;

	if (run->offset == MODEL_NO_OFFSET)
		return 0;
	for (uint64_t at = 0; at < size; at += PIECE) {
		size_t len = size - at < PIECE ? (size_t)(size - at) : PIECE;
		int r = pread_full(pages, buf, len, (off_t)(run->offset + at));

		if (r < 0 || keep_clock_found(clock, buf, len / sizeof(uint64_t)))
			return r < 0 ? r : 1;
	}
	return 0;
}

static int space_has_time(const struct builder_made *made, size_t space, const struct keep_clock *clock,
			  void *buf)
{
	const struct model_space *s = &made->model->spaces[space];
	int r = 0;

	for (size_t i = 0; i < s->nvmas && r == 0; i++)
		for (size_t n = 0;
		     n < s->vmas[i].nruns && r == 0 && !is_stack(made->model, space, &s->vmas[i]); n++)
			r = run_has_time(made->plan->pages, &s->vmas[i].runs[n], clock, buf);
	return r;
}

int keep_image_has_time(const struct builder_made *made)
{
	_cleanup_free_ void *buf = malloc(PIECE);
	struct keep_clock clock;
	int r = buf ? 0 : -ENOMEM;

	keep_clock_window(made->result->clock_start_ns, clock_ns(CLOCK_MONOTONIC), &clock);
	for (size_t i = 0; i < made->model->nspaces && r == 0; i++)
		r = space_has_time(made, i, &clock, buf);
	return r;
}

/* --- writing ---------------------------------------------------------------------- */

/* files that clones map are opened by their paths when the image is loaded */
static int check_names(const struct model *m, struct error *err)
{
	for (size_t i = 0; i < m->nobjects; i++) {
		const struct model_object *o = &m->objects[i];
		struct stat st;

		if (stat(o->path, &st) < 0 || st.st_dev != o->dev || st.st_ino != o->ino)
			return error_set(err, EOPNOTSUPP, "it maps %s, which has no name any more", o->path);
	}
	return 0;
}

int keep_image_write(int dirfd, const char *path, const struct builder_made *made, Warm__Kept *kept,
		     uint64_t *ret_bytes, struct error *err)
{
	const struct plan *p = made->plan;
	_cleanup_free_ uint8_t *facts = NULL;
	struct image_content content = { .model = made->model,
					 .pages = p->pages,
					 .huge = p->huge,
					 .huge_pieces = p->huge_pieces,
					 .nhuge_pieces = p->nhuge_pieces };
	int r = check_names(made->model, err);

	if (r < 0)
		return r;
	r = keep_entry_pack(kept, &facts, &content.facts_size);
	if (r < 0)
		return error_errno(err, r, "packing what a launch is compared with");
	content.facts = facts;
	r = image_write(dirfd, path, &content, err);
	return r < 0 ? r : image_size(dirfd, path, ret_bytes, err);
}

/* --- reading ---------------------------------------------------------------------- */

int keep_image_open(int dirfd, const char *path, bool verify, struct keep_loaded *ret, struct error *err)
{
	const void *facts;
	size_t size;
	int r = image_open(dirfd, path, verify ? IMAGE_VERIFY : 0, &ret->image, err);

	if (r < 0)
		return r;
	facts = image_facts(ret->image, &size);
	r = facts ? keep_entry_unpack(facts, size, &ret->kept) : -ENODATA;
	if (r == -ENODATA)
		return error_set(err, EBADMSG, "%s is no template's image", path);
	return r < 0 ? error_errno(err, r, "%s: what a launch is compared with", path) : 0;
}

/* the very files that were mapped; what is in them is checked with the other dependencies */
static int open_files(const struct model *m, struct model_files *files, struct error *err)
{
	files->fds = calloc(m->nobjects + 1, sizeof(*files->fds));
	if (!files->fds)
		return error_set(err, ENOMEM, "no memory");
	for (size_t i = 0; i < m->nobjects; i++) {
		const struct model_object *o = &m->objects[i];
		int fd = open(o->path, (o->writable ? O_RDWR : O_RDONLY) | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
		struct stat st;

		if (fd < 0 && (errno == EMFILE || errno == ENFILE))
			return error_errno(err, errno, "%s", o->path);
		if (fd < 0 || fstat(fd, &st) < 0 || st.st_dev != o->dev || st.st_ino != o->ino) {
			fd_close(fd);
			return error_set(err, ESTALE, "%s is another file now, or gone", o->path);
		}
		files->fds[files->n++] = fd;
	}
	return 0;
}

int keep_image_plan(struct keep_loaded *l, const struct config *config, struct error *err)
{
	/* pages of an image stay where they are */
	const struct plan_options options = { .join_text = config->join_text };
	struct page_source source = page_source_file(image_pages(l->image));
	int r;

	/* the plan notes in the model where things lie */
	l->model = image_take_model(l->image);
	r = open_files(l->model, &l->files, err);
	return r < 0 ? r : plan_build(l->model, &l->files, &source, &options, &l->plan, err);
}
