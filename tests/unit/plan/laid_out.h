/* SPDX-License-Identifier: MIT */
/* laid_out.h - mappings of a process as plan_layout() gets them, and what it made of them; addresses in pages from BASE */
#ifndef WARM_TESTS_LAID_OUT_H
#define WARM_TESTS_LAID_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>

#include "engine/proc.h"
#include "snapshot/plan/plan.h"

#define PAGE 4096ull
#define BASE 0x10000000ull
#define RX   (PROT_READ | PROT_EXEC)
#define RW   (PROT_READ | PROT_WRITE)

/* memory object 0 is launch file 3, object 1 is launch file 5 */
extern const int file_index[2];
extern struct model_vma vmas[64];
extern size_t nvmas;
extern struct plan_layout l;
extern bool join_text;

/** laid_out_setup(), laid_out_teardown() - no mappings */
int laid_out_setup(void **state);
int laid_out_teardown(void **state);

/** vma() - one mapping more, behind those there are; @object: -1: anonymous */
struct model_vma *vma(uint64_t start, uint64_t end, uint32_t prot, int object);
/** written() - these pages of it differ from the file, or from zero; at most 64 such runs */
void written(struct model_vma *v, uint64_t start, uint64_t end);

/** layout() - plan_layout(), which makes @expected pieces */
void layout(size_t expected);
/** is() - piece @i comes from @file at @off_pages */
void is(size_t i, int file, uint64_t start, uint64_t end, uint64_t off_pages);
/** check_whole() - every page of every mapping is made exactly once, in order, and stored pieces lie apart in the memfd */
void check_whole(void);

#endif
