/* SPDX-License-Identifier: MIT */
#include "warmd/stale/drain.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/fd.h"

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010 /* Linux 5.1 */
#endif

void drain_init(struct drain *d)
{
	int fd = memfd_create("warm-drain", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	void *at;

	*d = (struct drain){ .fd = -EBADF };
	if (fd < 0)
		return;
	if (ftruncate(fd, sizeof(*d->shared)) < 0) {
		close(fd);
		return;
	}
	at = mmap(NULL, sizeof(*d->shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (at == MAP_FAILED) {
		close(fd);
		return;
	}
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		munmap(at, sizeof(*d->shared));
		close(fd);
		return;
	}
	d->shared = at;
	d->fd = fd;
}

void drain_done(struct drain *d)
{
	if (d->shared)
		munmap(d->shared, sizeof(*d->shared));
	d->shared = NULL;
	d->fd = fd_close(d->fd);
}

void drain_busy(struct drain *d, bool busy)
{
	if (d->shared)
		__atomic_store_n(&d->shared->busy, busy, __ATOMIC_SEQ_CST);
}
