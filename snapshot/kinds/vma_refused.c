/* SPDX-License-Identifier: MIT */
/* vma_refused.c - memory that no clone can have: by what it is told, and the words for it */
#include <string.h>

#include "engine/proc.h"
#include "snapshot/kinds/vma.h"

static bool is_device(const struct vma_facts *f)
{
	return f->vmflags & (VMF_IO | VMF_PFNMAP);
}

static bool is_hugetlb(const struct vma_facts *f)
{
	return f->vmflags & VMF_HUGETLB;
}

static bool is_uffd(const struct vma_facts *f)
{
	return f->vmflags & VMF_UFFD;
}

static bool is_shadow_stack(const struct vma_facts *f)
{
	return f->vmflags & VMF_SHADOWSTACK;
}

static bool is_sysv(const struct vma_facts *f)
{
	return f->shared && strncmp(f->name, "/SYSV", 5) == 0;
}

/* an io_uring's rings, perf events: anon_inode_getfile() */
static bool is_kernel_object(const struct vma_facts *f)
{
	return f->shared && strncmp(f->name, "anon_inode:", 11) == 0;
}

static bool is_shared_memfd(const struct vma_facts *f)
{
	return f->shared && f->deleted && strncmp(f->name, "/memfd:", 7) == 0;
}

/* what is shared and anonymous has a name of its kernel's, that of a file which is not there: shmem_zero_setup() */
static bool is_deleted_file(const struct vma_facts *f)
{
	return f->deleted && !(f->shared && strcmp(f->name, "/dev/zero") == 0);
}

const struct vma_kind vma_kind_device = { .is = is_device, .refused = "device memory" };
const struct vma_kind vma_kind_hugetlb = { .is = is_hugetlb, .refused = "huge pages of hugetlbfs" };
const struct vma_kind vma_kind_uffd = { .is = is_uffd, .refused = "memory watched by userfaultfd" };
const struct vma_kind vma_kind_shadow_stack = { .is = is_shadow_stack, .refused = "a shadow stack" };
const struct vma_kind vma_kind_sysv = { .is = is_sysv, .refused = "System V shared memory" };
const struct vma_kind vma_kind_shared_memfd = { .is = is_shared_memfd, .refused = "a memfd shared" };
const struct vma_kind vma_kind_deleted_file = { .is = is_deleted_file, .refused = "a deleted file" };
const struct vma_kind vma_kind_kernel_object = { .is = is_kernel_object,
						 .refused = "memory of a kernel object" };
