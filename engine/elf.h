/* SPDX-License-Identifier: MIT */
/* elf.h - symbols and auxiliary vector of a live process, through libelf and /proc */
#ifndef WARM_ENGINE_ELF_H
#define WARM_ENGINE_ELF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct elf_query {
	const char *name; /* exact symbol name */
	uint64_t addr; /* out: first definition found, 0: none */
	uint64_t other; /* out: a second one at another address (older symbol version), 0: none */
	uint64_t in_exe; /* out: definition in the executable itself (copy relocations), 0: none */
	uint64_t bias; /* out: of the file that addr is from: equal for symbols of one file */
	bool exe_wants; /* out: the executable names it, without a definition of its own */
};

/** elf_auxv() - value of an auxiliary vector entry (getauxval(3)) of @pid; 0 when absent */
int elf_auxv(pid_t pid, unsigned long type, uint64_t *ret);

/**
 * elf_lookup() - addresses of symbols in all ELF files that @pid has mapped executable
 *
 * .dynsym of each, and .symtab of the executable where it is not stripped.
 * Return: 0 (unfound names have addr 0) or a negative errno
 */
int elf_lookup(pid_t pid, struct elf_query *queries, size_t n);

/**
 * elf_build_id() - the GNU build id of a file (ld(1), --build-id)
 * @fd: open for reading
 * @ret: room for @size bytes; more of it are left out
 * Return: bytes; 0: it has none, or is no ELF file
 */
size_t elf_build_id(int fd, uint8_t *ret, size_t size);

/**
 * elf_notes() - notes (elf(5)) in all ELF files that @pid has mapped, be it as data
 * @owner, @type: which ones
 * @visit: for each: the address of its contents in @pid, and their bytes; a negative result ends the search
 * Return: 0 or a negative errno, also that of @visit
 */
int elf_notes(pid_t pid, const char *owner, uint32_t type,
	      int (*visit)(void *data, uint64_t addr, const void *desc, size_t len), void *data);

/**
 * elf_own_vdso() - this process's vDSO, vdso(7)
 * @ret_size: bytes that are loaded; 0: there is none
 *
 * The kernel puts the instructions of this very processor into it when it starts, so another one is another machine's or kernel's.
 * Return: its first byte; NULL: there is none
 */
const void *elf_own_vdso(size_t *ret_size);

#endif
