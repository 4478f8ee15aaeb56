/* SPDX-License-Identifier: MIT */
/*
 * image_machine.c - the machine that an image was written on, and whether a program that ran there can go on here
 *
 * A program keeps two things of its machine that nobody can change in its memory: addresses within the kernel's vDSO, which the
 * C library looked up at its start, and choices made by what the processor can do (memcpy of glibc, JIT compilers).
 */
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/utsname.h>

#include "engine/base/fd.h"
#include "snapshot/image/image_codec.h"

/* XXH3 of the vDSO's loaded bytes: the kernel puts the instructions of this very processor into it when it starts. 0: there is none */
static uint64_t vdso_checksum(void)
{
	const char *start = (const char *)getauxval(AT_SYSINFO_EHDR);
	const ElfW(Ehdr) *e = (const ElfW(Ehdr) *)start;
	size_t size = 0;

	for (ElfW(Half) i = 0; start && i < e->e_phnum; i++) {
		const ElfW(Phdr) *p = (const ElfW(Phdr) *)(start + e->e_phoff) + i;

		if (p->p_type == PT_LOAD && p->p_vaddr + p->p_filesz > size)
			size = p->p_vaddr + p->p_filesz;
	}
	return start ? image_checksum(start, size) : 0;
}

/*
 * The first processor's line of features in /proc/cpuinfo: "flags" on x86, "Features" on ARM.
 * Return: words with a blank between them, malloc'd: "" if there is no such line; NULL: no memory
 */
static char *processor_features(void)
{
	_cleanup_free_ char *text = NULL;
	char *line = NULL;

	if (read_file("/proc/cpuinfo", &text, NULL) == 0) {
		line = strstr(text, "\nflags");
		if (!line)
			line = strstr(text, "\nFeatures");
		if (line)
			line = strchr(line + 1, ':');
	}
	if (!line)
		return strdup("");
	line += strspn(line, ": ");
	return strndup(line, strcspn(line, "\n"));
}

int image_encode_machine(struct arena *arena, Image__Machine **ret, struct error *err)
{
	Image__Machine *m = PUT_ONE(arena, m, machine);
	_cleanup_free_ char *features = processor_features();
	struct utsname system;

	if (uname(&system) < 0)
		return error_errno(err, errno, "uname");
	if (m && features) {
		m->kernel = arena_text(arena, system.release);
		m->processor = arena_text(arena, features);
		m->vdso = vdso_checksum();
	}
	if (!features || arena->failed)
		return error_set(err, ENOMEM, "no memory");
	*ret = m;
	return 0;
}

/* is the word, @length characters, among those of @words? */
static bool has_word(const char *words, const char *word, size_t length)
{
	for (const char *p = words; *p; p += strspn(p, " ")) {
		size_t n = strcspn(p, " ");

		if (n == length && memcmp(p, word, n) == 0)
			return true;
		p += n;
	}
	return false;
}

int image_machine_differs(const char *kernel, uint64_t vdso, const char *processor, struct error *err)
{
	_cleanup_free_ char *here = processor_features();
	struct utsname system;

	if (!here)
		return error_set(err, ENOMEM, "no memory");
	if (uname(&system) < 0)
		return error_errno(err, errno, "uname");
	if (vdso != vdso_checksum())
		return error_set(
			err, EOPNOTSUPP,
			"its program knows addresses in the vDSO of another kernel: it ran on %.64s, this is %.64s",
			kernel, system.release);
	for (const char *p = processor; *p; p += strspn(p, " ")) {
		size_t n = strcspn(p, " ");

		if (!has_word(here, p, n))
			return error_set(err, EOPNOTSUPP,
					 "its program ran on a processor with %.*s, which this one lacks",
					 n < 32 ? (int)n : 32, p);
		p += n;
	}
	return 0;
}
