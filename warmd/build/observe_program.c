/* SPDX-License-Identifier: MIT */
/*
 * Can a program that a child executed have read its environment? Scripts'
 * libraries ask uname(1) and its like about the machine (pandas does when it
 * is imported), and such programs look at nothing but what the C library reads
 * by itself. That is told by the names that the file takes from the library.
 *
 * The third argument of main() has no name. So this goes for the system's own
 * programs only, which are known to have no use for it.
 */
#include "warmd/build/observe_internal.h"

#include <fcntl.h>
#include <fnmatch.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"

/* glibc's own: those of others may read anything */
static const char *const libraries[] = { "libc.so.*",  "libm.so.*",	  "libdl.so.*",
					 "librt.so.*", "libpthread.so.*", "ld-linux*" };

/* what reads the environment, hands it on, or loads more code */
static const char *const readers[] = { "*getenv",      "*environ", "*exec[lv]*", "fexecve",
				       "posix_spawn*", "popen",	   "system",	 "dl*open",
				       "syscall",      "wordexp",  "glob",	 "glob64",
				       "putenv",       "setenv",   "unsetenv",	 "clearenv" };

/* what glibc 2.41 asks for in functions that anybody calls: catopen(3), getopt(3), iconv(3), localtime(3), malloc(3), setlocale(3), tmpfile(3), resolver(3) */
const char *const environment_of_libc[] = { "GCONV_PATH",
					    "GETCONF_DIR",
					    "HOSTALIASES",
					    "LANGUAGE",
					    "LOCALDOMAIN",
					    "LOCPATH",
					    "MALLOC_ARENA_MAX",
					    "MALLOC_CHECK_",
					    "MALLOC_PERTURB_",
					    "NLSPATH",
					    "OUTPUT_CHARSET",
					    "POSIXLY_CORRECT",
					    "RESOLV_HOST_CONF",
					    "RES_OPTIONS",
					    "TMPDIR",
					    "TZ",
					    "TZDIR",
					    NULL };

static bool is_like(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (fnmatch(list[i], name, 0) == 0)
			return true;
	return false;
}

static bool dynamic_reads(Elf *elf, Elf_Scn *section, const GElf_Shdr *head)
{
	Elf_Data *data = elf_getdata(section, NULL);
	size_t n = data && head->sh_entsize ? head->sh_size / head->sh_entsize : 0;
	GElf_Dyn dyn;

	for (size_t i = 0; i < n && gelf_getdyn(data, (int)i, &dyn); i++) {
		const char *name;

		if (dyn.d_tag != DT_NEEDED)
			continue;
		name = elf_strptr(elf, head->sh_link, dyn.d_un.d_val);
		if (!name || !is_like(name, libraries, ARRAY_SIZE(libraries)))
			return true;
	}
	return n == 0;
}

static bool symbols_read(Elf *elf, Elf_Scn *section, const GElf_Shdr *head)
{
	Elf_Data *data = elf_getdata(section, NULL);
	size_t n = data && head->sh_entsize ? head->sh_size / head->sh_entsize : 0;
	GElf_Sym sym;

	for (size_t i = 0; i < n && gelf_getsym(data, (int)i, &sym); i++) {
		const char *name = elf_strptr(elf, head->sh_link, sym.st_name);

		if (!name || is_like(name, readers, ARRAY_SIZE(readers)))
			return true;
	}
	return n == 0;
}

static bool elf_reads(Elf *elf)
{
	bool dynamic = false, symbols = false;
	Elf_Scn *section = NULL;
	GElf_Shdr head;

	while ((section = elf_nextscn(elf, section))) {
		if (!gelf_getshdr(section, &head))
			return true;
		if (head.sh_type == SHT_DYNAMIC) {
			if (dynamic_reads(elf, section, &head))
				return true;
			dynamic = true;
		} else if (head.sh_type == SHT_DYNSYM) {
			if (symbols_read(elf, section, &head))
				return true;
			symbols = true;
		}
	}
	return !dynamic || !symbols; /* static: nothing is known of it */
}

static bool is_systems(int fd, pid_t pid)
{
	char path[PATH_MAX];
	struct stat st;
	ssize_t n;

	n = readlink(proc_path(pid, "exe").text, path, sizeof(path) - 1);
	if (n < 0 || fstat(fd, &st) < 0 || st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return false;
	path[n] = '\0';
	return fnmatch("/usr/*bin/*", path, FNM_PATHNAME) == 0 || fnmatch("/*bin/*", path, FNM_PATHNAME) == 0;
}

bool program_reads_environment(pid_t pid)
{
	_cleanup_close_ int fd = -EBADF;
	bool reads = true;
	Elf *elf;

	fd = proc_open(pid, O_RDONLY, "exe");
	if (fd < 0 || !is_systems(fd, pid) || elf_version(EV_CURRENT) == EV_NONE)
		return true;
	elf = elf_begin(fd, ELF_C_READ, NULL);
	if (elf) {
		reads = elf_kind(elf) != ELF_K_ELF || elf_reads(elf);
		elf_end(elf);
	}
	return reads;
}
