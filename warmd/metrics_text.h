/* SPDX-License-Identifier: MIT */
/* metrics_text.h - what warmd counts, measures and has, as text for Prometheus */
#ifndef WARM_WARMD_METRICS_TEXT_H
#define WARM_WARMD_METRICS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct server;

/** metrics_label() - @text as the value of a label, without its quotes: \\, \" and \n escaped, what is not UTF-8 as U+FFFD */
void metrics_label(FILE *out, const char *text);

/* pages that a process of a template has in memory, by /proc/PID/statm */
struct metrics_memory {
	uint64_t template_id;
	pid_t pid;
	bool measured;
	uint64_t private_bytes, mapped_bytes; /* of its own; of files and of the sealed memory */
};

/** metrics_statm() - @text of /proc/PID/statm (proc_pid_statm(5)). Return: false: it is not that */
bool metrics_statm(const char *text, uint64_t page_size, struct metrics_memory *ret);

/**
 * metrics_text() - all there is, in Prometheus' text exposition format 0.0.4
 * @memory: @n processes that were measured; those of templates that are gone count for none
 */
void metrics_text(struct server *s, const struct metrics_memory *memory, size_t n, FILE *out);

#endif
