/* SPDX-License-Identifier: MIT */
#include "engine/vdso.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/elf.h"
#include "engine/trace.h"

/* the kernel's names by architecture: vdso(7) */
static const char *const names[] = { "__vdso_clock_gettime", "__kernel_clock_gettime" };

static bool is_clock(const char *name)
{
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(name, names[i]) == 0)
			return true;
	return false;
}

/* from the start of the vDSO; the same in all processes of this kernel. Return: 0: it has no such function */
static uint64_t clock_offset(void)
{
	const char *start = (const char *)getauxval(AT_SYSINFO_EHDR);
	const ElfW(Ehdr) *e = (const ElfW(Ehdr) *)start;
	const ElfW(Shdr) *sections = start ? (const ElfW(Shdr) *)(start + e->e_shoff) : NULL;

	for (ElfW(Half) i = 0; start && i < e->e_shnum; i++) {
		const ElfW(Shdr) *s = &sections[i];
		const ElfW(Sym) *symbols = (const ElfW(Sym) *)(start + s->sh_offset);
		const char *strings;

		if (s->sh_type != SHT_DYNSYM || s->sh_link >= e->e_shnum)
			continue;
		strings = start + sections[s->sh_link].sh_offset;
		for (size_t n = 0; n < s->sh_size / sizeof(*symbols); n++)
			if (symbols[n].st_shndx != SHN_UNDEF && is_clock(strings + symbols[n].st_name))
				return symbols[n].st_value;
	}
	return 0;
}

/* as a debugger writes: process_vm_writev(2) is held to the protection of pages */
static int write_text(pid_t pid, uint64_t addr, const void *bytes, size_t len)
{
	char path[64];
	_cleanup_close_ int fd = -EBADF;

	snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : pwrite_full(fd, bytes, len, (off_t)addr);
}

int vdso_show_clock(pid_t pid, uint64_t *ret_start, uint64_t *ret_end)
{
	uint64_t offset = clock_offset(), vdso = 0;
	uint8_t code[16];
	size_t len = arch_syscall_function(code, SYS_clock_gettime);
	int r;

	*ret_start = *ret_end = 0;
	r = elf_auxv(pid, AT_SYSINFO_EHDR, &vdso);
	if (r < 0 || !vdso || !offset)
		return 0;
	r = write_text(pid, vdso + offset, code, len);
	if (r < 0)
		return r;
	*ret_start = vdso + offset;
	*ret_end = vdso + offset + len;
	return 0;
}
