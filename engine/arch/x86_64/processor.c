/* SPDX-License-Identifier: MIT */
/*
 * processor.c - x86-64: CPUID and XGETBV, as the C library and others ask them to choose their functions (memcpy of glibc,
 * BLAS kernels, hashes). They remember the answers, so that a template holds them too.
 *
 * Numbers that differ from one processor of a machine to the next are left out: APIC ids.
 */
#include "processor.h"

#include <cpuid.h>
#include <stdbool.h>

#define LEAF_FEATURES	1
#define LEAF_CACHES	4
#define OSXSAVE		(1u << 27)
#define APIC_ID		0xff000000u /* of leaf 1, EBX */
#define SUBLEAVES_MAX	8
#define EXTENDED	0x80000000u
#define EXTENDED_CACHES 0x8000001du

struct words {
	uint32_t *at;
	size_t used, size;
};

static void put(struct words *w, uint32_t word)
{
	if (w->used < w->size)
		w->at[w->used++] = word;
}

/* Return: EAX of the answer */
static uint32_t ask(struct words *w, uint32_t leaf, uint32_t subleaf)
{
	uint32_t a, b, c, d;

	__cpuid_count(leaf, subleaf, a, b, c, d);
	put(w, a);
	put(w, leaf == LEAF_FEATURES ? b & ~APIC_ID : b);
	put(w, c);
	put(w, d);
	return a;
}

/* the caches one by one: type 0 ends them */
static void ask_caches(struct words *w, uint32_t leaf)
{
	for (uint32_t i = 0; i < SUBLEAVES_MAX && (ask(w, leaf, i) & 0x1f); i++)
		;
}

/* which register state the kernel has enabled */
static uint64_t xcr0(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

size_t arch_processor(uint32_t *words, size_t size)
{
	static const uint32_t basic[] = { 2, 6, 0x14, 0x19, 0x1a, 0x24 };
	static const uint32_t extended[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	struct words w = { words, 0, size };
	uint32_t a, b, c, d, highest, highest_extended;

	__cpuid(0, highest, b, c, d);
	ask(&w, 0, 0);
	__cpuid(LEAF_FEATURES, a, b, c, d);
	ask(&w, LEAF_FEATURES, 0);
	for (size_t i = 0; i < sizeof(basic) / sizeof(basic[0]); i++)
		if (basic[i] <= highest)
			ask(&w, basic[i], 0);
	if (highest >= LEAF_CACHES)
		ask_caches(&w, LEAF_CACHES);
	if (highest >= 7) {
		ask(&w, 7, 0);
		ask(&w, 7, 1);
	}
	if (highest >= 0xd) {
		ask(&w, 0xd, 0); /* EBX: bytes of the state that is enabled */
		ask(&w, 0xd, 1);
	}
	if (c & OSXSAVE) {
		put(&w, (uint32_t)xcr0());
		put(&w, (uint32_t)(xcr0() >> 32));
	}
	highest_extended = ask(&w, EXTENDED, 0);
	for (size_t i = 0; i < sizeof(extended) / sizeof(extended[0]); i++)
		if (EXTENDED + extended[i] <= highest_extended)
			ask(&w, EXTENDED + extended[i], 0);
	if (highest_extended >= EXTENDED_CACHES)
		ask_caches(&w, EXTENDED_CACHES);
	return w.used;
}
