/* SPDX-License-Identifier: MIT */
/*
 * context.h - a program's launch context, collected from the calling process.
 *
 * In: this process (limits, signals, descriptors, identity) and the command.
 * Out: one struct wire_run with its strings, ready to be sent.
 *
 * Shared by `warm run` (static, musl), warm-tool and libwarm. It is on the latency path: system
 * calls only, no malloc, no stdio, no locks. Nothing in the process is changed.
 */
#ifndef WARM_LAUNCHER_CONTEXT_H
#define WARM_LAUNCHER_CONTEXT_H

#include <stddef.h>
#include <stdint.h>

#include "launcher/wire/protocol.h"

/**
 * context_collect() - fill a struct wire_run with its strings
 * @buf: at least 8-byte aligned; the struct goes to its start, the strings follow
 * @size: bytes of @buf; WIRE_MAX_SIZE always serves what the wire can carry
 * @flags: enum wire_run_flags
 * @name: the template's name, NULL for none
 * @ready: the readiness point, NULL for "auto"
 * @argc: entries of @argv, at least 1
 * @argv, @envp: the program's; @envp may be NULL for an empty environment
 *
 * What is open counts as inherited: for a descriptor of warm's own (the socket to warmd), see context_without().
 *
 * Return: bytes used, which is also header.size. 0 with errno set on failure: E2BIG when it does
 * not fit, ENOENT when the working directory was removed or lies outside the root, EINVAL
 * when @argc is 0.
 */
size_t context_collect(void *buf, size_t size, uint32_t flags, const char *name, const char *ready, int argc,
		       char **argv, char **envp);

/** context_without() - @fd, in a context that was collected into @buf, is warm's own, and not the program's */
void context_without(void *buf, int fd);

/**
 * context_process() - a part of it, for libwarm: what belongs to the process and not to one launch
 * @run: groups, signals, rights, affinity, personality and limits are set; the rest is left alone. Not the umask, which
 *	cannot be asked for without changing it for other threads: umask(2)
 * @scratch: @size bytes, for the groups
 *
 * Return: 0, or -1 with errno: E2BIG.
 */
int context_process(struct wire_run *run, void *scratch, size_t size);

/**
 * context_stdio() - the other part: describe @fd as the program's standard descriptor @target
 * @run: kind, block size and offset of @target must be 0 before; the terminal's size is set by the first that has one
 *
 * A @fd that is not open leaves WIRE_STDIO_CLOSED.
 */
void context_stdio(struct wire_run *run, int target, int fd);

#endif
