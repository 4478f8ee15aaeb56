/* SPDX-License-Identifier: MIT */
/*
 * madvise.c - madvise(2) and mremap(2) on memory that was anonymous in the template.
 *
 * It is a private mapping of the pages memfd now. The kernel gives a page that
 * MADV_DONTNEED drops back from the file: the template's bytes, where the
 * program (an allocator: jemalloc takes such pages for zeroed) must find zeros; and it
 * refuses MADV_FREE. So the C library's madvise() is hooked: what is dropped
 * becomes anonymous memory of the same protection. A mapping that mremap() makes larger would show
 * what lies behind it in the memfd, where anonymous memory shows zeros: the same is done there. Which mappings are still the
 * memfd's is asked of the kernel (PROCMAP_QUERY, Linux 6.11), because the program may
 * have put others there. Calls past the C library, and older kernels: docs/coverage.md.
 */
#include "engine/stub/stub.h"

#include <linux/fcntl.h>
#include <linux/ioctl.h>
#include <linux/mman.h>
#include <sys/syscall.h>

#define EINVAL 22

/* include/uapi/linux/fs.h */
struct procmap_query {
	uint64_t size, query_flags, query_addr, vma_start, vma_end, vma_flags, vma_page_size, vma_offset,
		inode;
	uint32_t dev_major, dev_minor, vma_name_size, build_id_size;
	uint64_t vma_name_addr, build_id_addr;
};
#define PROCMAP_QUERY	 _IOWR('f', 17, struct procmap_query)
#define VMA_READABLE	 1
#define VMA_WRITABLE	 2
#define VMA_EXECUTABLE	 4
#define VMA_SHARED	 8
#define COVERING_OR_NEXT 0x10

static long protection(const struct procmap_query *q)
{
	return (q->vma_flags & VMA_READABLE ? PROT_READ : 0) |
	       (q->vma_flags & VMA_WRITABLE ? PROT_WRITE : 0) |
	       (q->vma_flags & VMA_EXECUTABLE ? PROT_EXEC : 0);
}

static long query(long fd, uint64_t addr, struct procmap_query *q)
{
	memset(q, 0, sizeof(*q));
	q->size = sizeof(*q);
	q->query_flags = COVERING_OR_NEXT;
	q->query_addr = addr;
	return SYSCALL3(SYS_ioctl, fd, PROCMAP_QUERY, q);
}

static int ours(const struct procmap_query *q)
{
	int huge = stub_data.huge_inode && q->inode == stub_data.huge_inode &&
		   q->dev_major == stub_data.huge_major && q->dev_minor == stub_data.huge_minor;

	return huge || (q->inode == stub_data.pages_inode && q->dev_major == stub_data.pages_major &&
			q->dev_minor == stub_data.pages_minor && !(q->vma_flags & VMA_SHARED));
}

/* Return: how many bytes of [addr, addr + len) were the memfd's; with @drop they are anonymous and zero afterwards */
static uint64_t visit(uint64_t addr, uint64_t len, int drop)
{
	uint64_t end = addr + len, found = 0;
	long fd = SYSCALL4(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);

	while (fd >= 0 && addr < end) {
		struct procmap_query q;
		uint64_t from, to;

		if (query(fd, addr, &q) < 0 || q.vma_start >= end)
			break;
		from = q.vma_start > addr ? q.vma_start : addr;
		to = q.vma_end < end ? q.vma_end : end;
		addr = q.vma_end;
		if (!ours(&q))
			continue;
		found += to - from;
		if (drop)
			SYSCALL6(SYS_mmap, from, to - from, protection(&q),
				 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	}
	if (fd >= 0)
		SYSCALL1(SYS_close, fd);
	return found;
}

typedef int *errno_fn(void);

void stub_set_errno(long r)
{
	struct stub_process *p = stub_self();
	*((errno_fn *)p->exit.errno_location)() = (int)-r;
}

int stub_madvise(uint64_t addr, uint64_t len, int advice)
{
	uint64_t page = stub_data.page_size, whole = (len + page - 1) & ~(page - 1);
	long r = SYSCALL3(SYS_madvise, addr, len, advice);

	if (r == 0 && advice == MADV_DONTNEED && whole)
		visit(addr, whole, 1);
	else if (r == -EINVAL && advice == MADV_FREE && addr % page == 0 && visit(addr, whole, 0) == whole)
		r = 0; /* MADV_FREE may keep the contents as long as it likes */
	if (r == 0)
		return 0;
	stub_set_errno(r);
	return -1;
}

void *stub_mremap(uint64_t old, uint64_t old_len, uint64_t new_len, int flags, uint64_t new_addr)
{
	uint64_t page = stub_data.page_size, from = (old_len + page - 1) & ~(page - 1),
		 to = (new_len + page - 1) & ~(page - 1);
	struct procmap_query q;
	int is_ours = 0;
	long fd, r;

	if (to > from) {
		fd = SYSCALL4(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC, 0);
		is_ours = fd >= 0 && query(fd, old, &q) == 0 && q.vma_start <= old && ours(&q);
		if (fd >= 0)
			SYSCALL1(SYS_close, fd);
	}
	r = SYSCALL5(SYS_mremap, old, old_len, new_len, flags, new_addr);
	if (r < 0 && r > -4096) {
		stub_set_errno(r);
		return (void *)-1;
	}
	if (is_ours)
		SYSCALL6(SYS_mmap, (uint64_t)r + from, to - from, protection(&q),
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return (void *)r;
}
