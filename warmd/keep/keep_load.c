/* SPDX-License-Identifier: MIT */
/*
 * keep_load.c - a template from an image, in a process of its own: it may take a while, and what it reads may be damaged.
 *
 * The image is opened without reading its pages, unless they are to be verified. What has to be as it was is compared, the
 * files that clones map are opened, the plan is made as it was made of the live process, and all of it goes to warmd as
 * a builder's report does.
 */
#include "warmd/keep/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

#include "engine/base/fd.h"
#include "warmd/build/report.h"
#include "warmd/keep/keep_internal.h"

/* the template gets another name: the request that it was built for has it */
static int rename_request(Warm__Kept *kept, const char *name)
{
	struct request *req = NULL, *named;
	int r = keep_entry_request(kept, &req);

	if (r < 0)
		return r;
	named = request_with_name(req, name);
	request_free(req);
	if (!named)
		return -ENOMEM;
	free(kept->request.data);
	r = keep_entry_put_request(kept, named);
	request_free(named);
	return r;
}

static int check_facts(const Warm__Kept *kept, const struct config *config, struct error *err)
{
	const char *differs = keep_entry_differs(kept, config);

	return differs ? error_set(err, ESTALE, "it was built with another state of: %s", differs) : 0;
}

static int load(const struct keep_source *source, const struct config *config, struct keep_loaded *ret,
		struct error *err)
{
	bool own = source->id[0];
	_cleanup_close_ int folder = own ? keep_folder_open(source->path, false, err) : -EBADF;
	int r;

	if (own && folder < 0)
		return folder;
	r = keep_image_open(own ? folder : AT_FDCWD, own ? source->id : source->path, !own, ret, err);
	if (r < 0)
		return r;
	r = check_facts(ret->kept, config, err);
	if (r == 0)
		r = keep_image_plan(ret, config, err);
	if (r == 0 && source->name[0]) {
		r = rename_request(ret->kept, source->name);
		if (r < 0)
			error_errno(err, r, "giving it the name '%.100s'", source->name);
	}
	return r;
}

static int report(struct keep_loaded *l, int sock)
{
	Warm__BuildResult *m = l->kept->result;
	_cleanup_free_ int *fds = calloc(l->plan.nfiles + 2, sizeof(*fds));

	if (!fds)
		return -ENOMEM;
	fds[0] = l->plan.control;
	fds[1] = l->plan.pages;
	memcpy(fds + 2, l->plan.files, l->plan.nfiles * sizeof(*fds));
	/* strings of the plan's take the place of those that came with the image: nothing is freed here any more */
	report_put_plan(m, &l->plan);
	m->kept = l->kept;
	l->kept->result = NULL;
	return report_send(sock, m, fds, l->plan.nfiles + 2);
}

int keep_load_run(const struct keep_source *source, const struct config *config, int sock)
{
	Warm__BuildResult failed = WARM__BUILD_RESULT__INIT;
	struct keep_loaded loaded = { .plan = { .control = -EBADF, .pages = -EBADF, .huge = -EBADF } };
	struct error err = { 0 };
	int r;

	prctl(PR_SET_NAME, "warmd-load");
	r = load(source, config, &loaded, &err);
	if (r == 0)
		r = report(&loaded, sock);
	if (r < 0 && err.text[0]) {
		failed.error = r;
		failed.message = err.text;
		r = report_send(sock, &failed, NULL, 0);
	}
	/* memory and files end with this process */
	return r < 0 ? 1 : 0;
}
