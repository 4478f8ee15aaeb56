/* SPDX-License-Identifier: MIT */
/* keep_facts.c - what a kept template depends on beside files and keys, each as one number to be compared */
#include "warmd/keep/keep.h"

#include <elf.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "engine/base/facts.h"
#include "engine/base/fd.h"
#include "processor.h" /* by architecture */

#define PROCESSOR_WORDS 512

#ifndef AT_RSEQ_FEATURE_SIZE
#define AT_RSEQ_FEATURE_SIZE 27
#define AT_RSEQ_ALIGN	     28
#endif
#ifndef AT_HWCAP3
#define AT_HWCAP3 29
#define AT_HWCAP4 30
#endif
#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/* a build-id in the notes of the first object that dl_iterate_phdr(3) tells of: this program */
static int find_build_id(struct dl_phdr_info *info, size_t size, void *data)
{
	uint64_t *hash = data;

	(void)size;
	for (ElfW(Half) i = 0; i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *p = &info->dlpi_phdr[i];
		const char *at = (const char *)(info->dlpi_addr + p->p_vaddr), *end = at + p->p_memsz;

		while (p->p_type == PT_NOTE && at + sizeof(ElfW(Nhdr)) <= end) {
			const ElfW(Nhdr) *n = (const ElfW(Nhdr) *)at;
			const char *name = at + sizeof(*n), *desc = name + ((n->n_namesz + 3) & ~3u);

			if (n->n_type == NT_GNU_BUILD_ID && n->n_namesz == 4 && memcmp(name, "GNU", 4) == 0)
				*hash = hash_bytes(*hash, desc, n->n_descsz);
			at = desc + ((n->n_descsz + 3) & ~3u);
		}
	}
	return 1;
}

/* a linker that makes no build-id: the file's own identity */
static uint64_t warm_itself(void)
{
	uint64_t hash = hash_bytes(HASH_SEED, WARM_VERSION, sizeof(WARM_VERSION)), found = hash;
	struct stat st;

	dl_iterate_phdr(find_build_id, &found);
	if (found == hash && stat("/proc/self/exe", &st) == 0) {
		found = hash_bytes(found, &st.st_ino, sizeof(st.st_ino));
		found = hash_bytes(found, &st.st_size, sizeof(st.st_size));
		found = hash_bytes(found, &st.st_ctim, sizeof(st.st_ctim));
	}
	return found;
}

static uint64_t kernel(void)
{
	struct utsname name;
	uint64_t hash = HASH_SEED;

	memset(&name, 0, sizeof(name));
	uname(&name);
	/* not the host's name, which counts if it was asked for: FACT_NAMES */
	hash = hash_bytes(hash, name.sysname, sizeof(name.sysname));
	hash = hash_bytes(hash, name.release, sizeof(name.release));
	hash = hash_bytes(hash, name.version, sizeof(name.version));
	return hash_bytes(hash, name.machine, sizeof(name.machine));
}

static uint64_t processor(void)
{
	static const unsigned long entries[] = { AT_HWCAP,
						 AT_HWCAP2,
						 AT_HWCAP3,
						 AT_HWCAP4,
						 AT_PAGESZ,
						 AT_CLKTCK,
						 AT_RSEQ_FEATURE_SIZE,
						 AT_RSEQ_ALIGN,
						 AT_MINSIGSTKSZ };
	const char *platform = (const char *)getauxval(AT_PLATFORM);
	uint32_t words[PROCESSOR_WORDS];
	size_t n = arch_processor(words, ARRAY_SIZE(words));
	uint64_t hash = hash_bytes(HASH_SEED, words, n * sizeof(*words));

	for (size_t i = 0; i < ARRAY_SIZE(entries); i++) {
		unsigned long value = getauxval(entries[i]);

		hash = hash_bytes(hash, &value, sizeof(value));
	}
	return platform ? hash_bytes(hash, platform, strlen(platform)) : hash;
}

/* all of it: the kernel puts the instructions of this very processor into it when it starts */
static uint64_t vdso(void)
{
	const char *start = (const char *)getauxval(AT_SYSINFO_EHDR);
	const ElfW(Ehdr) *e = (const ElfW(Ehdr) *)start;
	size_t size = 0;

	for (ElfW(Half) i = 0; start && i < e->e_phnum; i++) {
		const ElfW(Phdr) *p = (const ElfW(Phdr) *)(start + e->e_phoff) + i;

		if (p->p_type == PT_LOAD && p->p_vaddr + p->p_filesz > size)
			size = p->p_vaddr + p->p_filesz;
	}
	return hash_bytes(HASH_SEED, start, size);
}

/* lines of proc_pid_status(5): what the builder could read, and what a program was told that it may do */
static uint64_t rights(void)
{
	static const char *const fields[] = { "\nUid:",	   "\nGid:",	    "\nGroups:",  "\nCapInh:",
					      "\nCapPrm:", "\nCapEff:",	    "\nCapBnd:",  "\nCapAmb:",
					      "\nSeccomp", "\nNoNewPrivs:", "\nSeccomp_f" };
	static const char *const files[] = { "/proc/self/attr/current", "/proc/self/uid_map",
					     "/proc/self/gid_map" };
	_cleanup_free_ char *status = NULL;
	uint64_t hash = HASH_SEED;

	if (read_file("/proc/self/status", &status, NULL) == 0)
		for (size_t i = 0; i < ARRAY_SIZE(fields); i++) {
			const char *line = strstr(status, fields[i]);

			if (line)
				hash = hash_bytes(hash, line, 1 + strcspn(line + 1, "\n"));
		}
	for (size_t i = 0; i < ARRAY_SIZE(files); i++) {
		uint64_t value = fact_of_file(files[i]);

		hash = hash_bytes(hash, &value, sizeof(value));
	}
	return hash;
}

static uint64_t settings(const struct config *config)
{
	uint64_t hash = HASH_SEED;

	for (size_t i = 0; i < config->ignore_paths.count; i++)
		hash = hash_bytes(hash, config->ignore_paths.items[i],
				  strlen(config->ignore_paths.items[i]) + 1);
	return hash;
}

/* CLOCK_MONOTONIC and CLOCK_BOOTTIME begin anew in each boot, and where a time namespace says */
static uint64_t boot(void)
{
	uint64_t values[2] = { fact_of_file("/proc/sys/kernel/random/boot_id"),
			       fact_of_file("/proc/self/timens_offsets") };

	return hash_bytes(HASH_SEED, values, sizeof(values));
}

uint64_t keep_fact_value(enum keep_fact fact, const struct config *config)
{
	uint64_t hash = 0;

	switch (fact) {
	case KEEP_FACT_WARM:
		hash = warm_itself();
		break;
	case KEEP_FACT_KERNEL:
		hash = kernel();
		break;
	case KEEP_FACT_PROCESSOR:
		hash = processor();
		break;
	case KEEP_FACT_VDSO:
		hash = vdso();
		break;
	case KEEP_FACT_RIGHTS:
		hash = rights();
		break;
	case KEEP_FACT_SETTINGS:
		hash = settings(config);
		break;
	case KEEP_FACT_BOOT:
		hash = boot();
		break;
	case KEEP_FACTS:
		break;
	}
	return hash ? hash : 1;
}

const char *keep_fact_name(enum keep_fact fact)
{
	static const char *const names[] = { "warm itself",
					     "the kernel",
					     "the processor",
					     "the kernel's vDSO",
					     "what this user may do (ids, groups, capabilities)",
					     "ignore_paths in the configuration",
					     "the boot of the machine, of which it has a time" };

	_Static_assert(ARRAY_SIZE(names) == KEEP_FACTS, "a name for each fact");
	return fact < KEEP_FACTS ? names[fact] : "?";
}
