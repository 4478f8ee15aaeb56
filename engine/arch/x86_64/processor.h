/* SPDX-License-Identifier: MIT */
/* processor.h - x86-64: what a program can ask the processor, past the kernel */
#ifndef WARM_ENGINE_ARCH_X86_64_PROCESSOR_H
#define WARM_ENGINE_ARCH_X86_64_PROCESSOR_H

#include <stddef.h>
#include <stdint.h>

/**
 * arch_processor() - what identifies the processor and tells its features, caches and register state
 * @words: filled; the same on every processor of the machine, as far as they are of one kind
 * @size: words that fit
 *
 * Some 30 CPUID instructions, of some microseconds each in a virtual machine.
 * Return: number of words
 */
size_t arch_processor(uint32_t *words, size_t size);

#endif
