/* SPDX-License-Identifier: MIT */
/*
 * keep_write.c - images, written by the process that built the template.
 *
 * It has the model and the pages memfd, and has reported: warmd serves the template already. It writes with less priority
 * than others, because what it writes is for a later day.
 */
#include "warmd/keep/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "warmd/build/builder.h"
#include "warmd/keep/keep_internal.h"

#define NICE	   10
#define FREE_SHARE 20 /* of the disk: one part in so many stays free */
#define ENTRY_ROOM (64u << 10) /* what an image has beside its pages, about */

/* what its template holds: of the image, whose pages are the same */
static uint64_t expected_bytes(const struct builder_made *made)
{
	return made->result->sealed_bytes + ENTRY_ROOM;
}

/* a disk that is nearly full is for other things */
static int check_disk(int folder, uint64_t bytes, struct error *err)
{
	struct statvfs st;

	if (fstatvfs(folder, &st) < 0)
		return error_errno(err, errno, "looking at the disk");
	if (st.f_bavail * st.f_frsize < bytes + st.f_blocks * st.f_frsize / FREE_SHARE)
		return error_set(err, ENOSPC, "the disk is nearly full");
	return 0;
}

static int facts_of(const struct builder_made *made, const struct keep_order *order, Warm__Kept **ret,
		    struct error *err)
{
	struct request *req = request_copy(made->req);
	int r = req ? 0 : -ENOMEM;

	if (r == 0) {
		request_strip_out(req);
		r = keep_entry_make(req, made->result, order->created_ns, order->build_ns, made->cfg, ret);
	}
	/* if it cannot be told, it does */
	if (r == 0 && keep_image_has_time(made) != 0)
		(*ret)->facts[KEEP_FACT_BOOT] = keep_fact_value(KEEP_FACT_BOOT, made->cfg);
	request_free(req);
	return r < 0 ? error_errno(err, r, "putting the template's facts together") : 0;
}

static int write_out(const struct builder_made *made, const struct keep_order *order, uint64_t *ret_bytes,
		     struct error *err)
{
	Warm__Kept *kept = NULL;
	int r = facts_of(made, order, &kept, err);

	if (r == 0)
		r = keep_image_write(AT_FDCWD, order->path, made, kept, ret_bytes, err);
	keep_entry_free(kept);
	return r;
}

/* the folder is locked: what comes in between is what a killed writer left, and nothing else */
static int write_locked(const struct builder_made *made, const struct keep_order *order, int folder,
			uint64_t *ret_bytes, struct error *err)
{
	uint64_t budget = made->cfg->keep_budget;
	Warm__Kept *kept = NULL;
	int r;

	keep_folder_sweep(folder);
	r = keep_folder_make_room(folder, expected_bytes(made), budget, NULL);
	if (r < 0)
		return r == -ENOSPC ? error_set(err, ENOSPC, "it takes %llu MiB, and keep_budget is %llu MiB",
						(unsigned long long)(expected_bytes(made) >> 20),
						(unsigned long long)(budget >> 20))
				    : error_errno(err, r, "making room");
	r = check_disk(folder, expected_bytes(made), err);
	if (r == 0)
		r = facts_of(made, order, &kept, err);
	if (r == 0)
		r = keep_image_write(folder, order->id, made, kept, ret_bytes, err);
	if (r == 0) {
		keep_entry_slim(kept);
		r = keep_entry_write(folder, order->id, kept);
		if (r < 0) {
			keep_folder_remove(folder, order->id);
			error_errno(err, r, "writing what a launch is compared with");
		}
	}
	/* it may have become more than was expected */
	if (r == 0)
		keep_folder_make_room(folder, 0, budget, order->id);
	keep_entry_free(kept);
	return r;
}

static int write_cache(const struct builder_made *made, const struct keep_order *order, uint64_t *ret_bytes,
		       struct error *err)
{
	_cleanup_close_ int folder = keep_folder_open(order->path, true, err);
	_cleanup_close_ int lock = folder < 0 ? -EBADF : keep_folder_lock(folder);

	if (folder < 0)
		return folder;
	if (lock < 0)
		return error_errno(err, lock, "locking %s", order->path);
	return write_locked(made, order, folder, ret_bytes, err);
}

static void be_modest(void)
{
	/* what is under way is finished also if warmd ends; nothing of warmd's is held meanwhile */
	prctl(PR_SET_PDEATHSIG, 0);
	setpriority(PRIO_PROCESS, 0, NICE);
	/* the folder's and files' modes are given in full */
	umask(077);
	/* RLIMIT_FSIZE: an error, not the end */
	signal(SIGXFSZ, SIG_IGN);
}

void keep_write_serve(const struct builder_made *made, int sock)
{
	struct keep_order order;

	while (recv(sock, &order, sizeof(order), 0) == sizeof(order) && order.size == sizeof(order)) {
		struct keep_written m = { .size = sizeof(m) };
		struct error err = { 0 };

		be_modest();
		order.path[sizeof(order.path) - 1] = order.id[sizeof(order.id) - 1] = '\0';
		m.error = order.kind == KEEP_ORDER_OUT ? write_out(made, &order, &m.bytes, &err)
						       : write_cache(made, &order, &m.bytes, &err);
		snprintf(m.words, sizeof(m.words), "%s", err.text);
		/* nobody may listen any more: there may be another order all the same */
		send(sock, &m, sizeof(m), MSG_NOSIGNAL);
	}
}
