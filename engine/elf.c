/* SPDX-License-Identifier: MIT */
#include "engine/elf.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <libelf.h>
#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>

#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "engine/proc.h"

int elf_auxv(pid_t pid, unsigned long type, uint64_t *ret)
{
	_cleanup_free_ char *buf = NULL;
	size_t len;
	int r;

	r = read_file(proc_path(pid, "auxv").text, &buf, &len);
	if (r < 0)
		return r;
	*ret = 0;
	for (size_t i = 0; i + 16 <= len; i += 16) {
		uint64_t pair[2];

		memcpy(pair, buf + i, 16);
		if (pair[0] == type)
			*ret = pair[1];
	}
	return 0;
}

/* @value: 0: the file only names it */
static void match(const char *name, uint64_t value, uint64_t bias, bool exe, struct elf_query *queries,
		  size_t n)
{
	for (size_t i = 0; i < n; i++) {
		struct elf_query *q = &queries[i];
		uint64_t addr = value + bias;

		if (strcmp(q->name, name) != 0)
			continue;
		if (!value) {
			q->exe_wants |= exe;
			continue;
		}
		if (exe && !q->in_exe)
			q->in_exe = addr;
		if (!q->addr) {
			q->addr = addr;
			q->bias = bias;
		} else if (q->addr != addr && !q->other) {
			q->other = addr;
		}
	}
}

struct lookup {
	struct elf_query *queries;
	size_t n;
};

static int scan_symbols(Elf *elf, uint64_t bias, bool exe, void *data_)
{
	const struct lookup *l = data_;
	struct elf_query *queries = l->queries;
	size_t n = l->n;
	Elf_Scn *scn = NULL;

	while ((scn = elf_nextscn(elf, scn))) {
		GElf_Shdr shdr;
		Elf_Data *data;

		if (!gelf_getshdr(scn, &shdr) || !shdr.sh_entsize)
			continue;
		if (shdr.sh_type != SHT_DYNSYM && !(exe && shdr.sh_type == SHT_SYMTAB))
			continue;
		data = elf_getdata(scn, NULL);
		for (size_t i = 0; data && i < shdr.sh_size / shdr.sh_entsize; i++) {
			GElf_Sym sym;
			const char *name;

			if (!gelf_getsym(data, (int)i, &sym) || GELF_ST_TYPE(sym.st_info) == STT_TLS)
				continue;
			name = elf_strptr(elf, shdr.sh_link, sym.st_name);
			if (name)
				match(name, sym.st_shndx == SHN_UNDEF ? 0 : sym.st_value, bias, exe, queries,
				      n);
		}
	}
	return 0;
}

struct notes {
	const char *owner;
	uint32_t type;
	int (*visit)(void *data, uint64_t addr, const void *desc, size_t len);
	void *data;
};

static int scan_note_segment(Elf *elf, uint64_t bias, const GElf_Phdr *ph, const struct notes *n)
{
	Elf_Data *data = elf_getdata_rawchunk(elf, (int64_t)ph->p_offset, ph->p_filesz, ELF_T_NHDR);
	size_t at = 0, next, name, desc, len = strlen(n->owner) + 1;
	GElf_Nhdr h;

	for (; data && (next = gelf_getnote(data, at, &h, &name, &desc)) > 0; at = next) {
		const char *bytes = data->d_buf;
		int r;

		if (h.n_type != n->type || h.n_namesz != len || memcmp(bytes + name, n->owner, len) != 0)
			continue;
		r = n->visit(n->data, bias + ph->p_vaddr + desc, bytes + desc, h.n_descsz);
		if (r < 0)
			return r;
	}
	return 0;
}

static int scan_notes(Elf *elf, uint64_t bias, bool exe, void *data)
{
	size_t n;
	int r = 0;

	(void)exe;
	if (elf_getphdrnum(elf, &n) != 0)
		return 0;
	for (size_t i = 0; i < n && r == 0; i++) {
		GElf_Phdr ph;

		/* those aligned to 8 bytes are the linker's own: gnu.property */
		if (gelf_getphdr(elf, (int)i, &ph) && ph.p_type == PT_NOTE && ph.p_align <= 4)
			r = scan_note_segment(elf, bias, &ph, data);
	}
	return r;
}

/* addresses in the file are relative to the page of its first PT_LOAD */
static int load_bias(Elf *elf, uint64_t mapped_at, uint64_t *ret)
{
	size_t n;

	if (elf_getphdrnum(elf, &n) != 0)
		return -ENOEXEC;
	for (size_t i = 0; i < n; i++) {
		GElf_Phdr ph;

		if (!gelf_getphdr(elf, (int)i, &ph) || ph.p_type != PT_LOAD)
			continue;
		*ret = mapped_at - (ph.p_vaddr & ~(ph.p_align ? ph.p_align - 1 : 0));
		return 0;
	}
	return -ENOEXEC;
}

typedef int scan_fn(Elf *elf, uint64_t bias, bool exe, void *data);

static int scan_file(pid_t pid, const struct proc_map *first, bool exe, scan_fn *scan, void *data)
{
	char path[4352];
	_cleanup_close_ int fd = -EBADF;
	uint64_t bias;
	Elf *elf;
	int r = 0;

	snprintf(path, sizeof(path), "/proc/%d/root%s", pid, first->path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (!elf)
		return 0;
	if (elf_kind(elf) == ELF_K_ELF && load_bias(elf, first->start, &bias) == 0)
		r = scan(elf, bias, exe, data);
	elf_end(elf);
	return r;
}

/* @all: also where a file's mapping follows another one of that file */
static int each_file(pid_t pid, bool all, scan_fn *scan, void *data)
{
	struct proc_maps maps;
	char exe[4096];
	ssize_t len;
	int r;

	if (elf_version(EV_CURRENT) == EV_NONE)
		return -ENOEXEC;
	r = proc_read_maps(pid, false, &maps);
	if (r < 0)
		return r;
	len = readlink(proc_path(pid, "exe").text, exe, sizeof(exe) - 1);
	exe[len > 0 ? len : 0] = '\0';
	for (size_t i = 0; i < maps.n && r == 0; i++) {
		const struct proc_map *first = &maps.v[i];

		if (first->path[0] != '/' || first->offset != 0 || first->deleted)
			continue;
		if (!all && i > 0 && strcmp(maps.v[i - 1].path, first->path) == 0 &&
		    maps.v[i - 1].ino == first->ino)
			continue;
		/* of data files that are mapped none is executable nearby; libelf tells them apart cheaply */
		r = scan_file(pid, first, strcmp(first->path, exe) == 0, scan, data);
	}
	proc_maps_done(&maps);
	return r;
}

int elf_lookup(pid_t pid, struct elf_query *queries, size_t n)
{
	struct lookup l = { queries, n };

	return each_file(pid, false, scan_symbols, &l);
}

int elf_notes(pid_t pid, const char *owner, uint32_t type,
	      int (*visit)(void *data, uint64_t addr, const void *desc, size_t len), void *data)
{
	struct notes n = { owner, type, visit, data };

	return each_file(pid, true, scan_notes, &n);
}

/* the build id among the notes of one segment. Return: bytes; 0: it is not there */
static size_t id_among(Elf_Data *data, uint8_t *ret, size_t size)
{
	size_t at = 0, name_at, desc_at;
	GElf_Nhdr note;

	while (at < data->d_size && (at = gelf_getnote(data, at, &note, &name_at, &desc_at)) > 0) {
		if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != sizeof("GNU") ||
		    memcmp((char *)data->d_buf + name_at, "GNU", sizeof("GNU")) != 0)
			continue;
		size = note.n_descsz < size ? note.n_descsz : size;
		memcpy(ret, (char *)data->d_buf + desc_at, size);
		return size;
	}
	return 0;
}

size_t elf_build_id(int fd, uint8_t *ret, size_t size)
{
	size_t n = 0, found = 0;
	Elf *elf;

	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_READ_MMAP, NULL);
	if (!elf)
		return 0;
	if (elf_kind(elf) == ELF_K_ELF)
		elf_getphdrnum(elf, &n);
	for (size_t i = 0; i < n && !found; i++) {
		GElf_Phdr header;
		Elf_Data *data;

		if (!gelf_getphdr(elf, (int)i, &header) || header.p_type != PT_NOTE)
			continue;
		data = elf_getdata_rawchunk(elf, (int64_t)header.p_offset, header.p_filesz,
					    header.p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR);
		found = data ? id_among(data, ret, size) : 0;
	}
	elf_end(elf);
	return found;
}

const void *elf_own_vdso(size_t *ret_size)
{
	const char *start = (const char *)getauxval(AT_SYSINFO_EHDR);
	const ElfW(Ehdr) *e = (const ElfW(Ehdr) *)start;
	size_t size = 0;

	for (ElfW(Half) i = 0; start && i < e->e_phnum; i++) {
		const ElfW(Phdr) *p = (const ElfW(Phdr) *)(start + e->e_phoff) + i;

		if (p->p_type == PT_LOAD && p->p_vaddr + p->p_filesz > size)
			size = p->p_vaddr + p->p_filesz;
	}
	*ret_size = size;
	return start;
}
