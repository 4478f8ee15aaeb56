/* SPDX-License-Identifier: MIT */
#include "snapshot/dump/live_pages.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

static int read_live(const struct page_source *s, size_t space, uint64_t addr, void *buf, size_t len)
{
	const struct live_pages *live = (const struct live_pages *)s;
	int r = frozen_read(live->tree->processes[space], addr, buf, len);

	/* PROT_NONE: /proc/PID/mem reads what process_vm_readv(2) may not */
	return r == -EFAULT ? pread_full(live->mem[space], buf, len, (off_t)addr) : r;
}

int live_pages_open(struct live_pages *ret, const struct frozen_tree *tree, struct error *err)
{
	struct live_pages live = { .source = { .read = read_live, .file = -EBADF }, .tree = tree };

	live.mem = calloc(tree->n, sizeof(*live.mem));
	if (!live.mem)
		return error_set(err, ENOMEM, "no memory");
	for (size_t i = 0; i < tree->n; i++) {
		live.mem[i] = proc_open(tree->processes[i]->pid, O_RDONLY, "mem");
		if (live.mem[i] < 0) {
			int r = live.mem[i];

			*ret = live;
			live_pages_close(ret);
			return error_errno(err, r, "opening the memory of process %d",
					   tree->processes[i]->pid);
		}
	}
	*ret = live;
	return 0;
}

void live_pages_close(struct live_pages *live)
{
	for (size_t i = 0; live->mem && i < live->tree->n; i++)
		fd_close(live->mem[i]);
	free(live->mem);
	live->mem = NULL;
}
