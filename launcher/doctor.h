/* SPDX-License-Identifier: MIT */
/*
 * doctor.h - `warm doctor`: one probe for each thing of the kernel or of this host
 * that warm relies on.
 *
 * Each probe tries the thing itself, in a child process of its own with a time limit, and
 * leaves one finding. A probe cannot harm doctor: it may move its vDSO, lose its
 * mappings, be killed or hang.
 *
 *	doctor.c		runs the probes, prints the findings
 *	doctor_trace.c		ptrace and what is read through it
 *	doctor_memory.c		memfd, pagemap, address space
 *	doctor_host.c		privileges, limits, files, warmd
 */
#ifndef WARM_LAUNCHER_DOCTOR_H
#define WARM_LAUNCHER_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>

enum doctor_result {
	DOCTOR_UNKNOWN, /* the probe ended without a finding */
	DOCTOR_OK,
	DOCTOR_LIMITED, /* warm works, with less speed or less reach */
	DOCTOR_MISSING,
	DOCTOR_RESULT_COUNT,
};

/* in memory shared with the probing child */
struct doctor_finding {
	enum doctor_result result;
	char detail[256]; /* what was found */
	char todo[256]; /* what to do about it, "" if nothing */
};

struct doctor_probe {
	const char *name;
	bool needed; /* missing: `warm run` always runs cold; else only what @why tells is lost */
	const char *why; /* what warm does with it */
	const char *todo; /* general advice, where the finding has none; NULL for none */
	void (*probe)(struct doctor_finding *f);
};

extern const struct doctor_probe doctor_trace_probes[], doctor_memory_probes[], doctor_host_probes[];
extern const size_t doctor_trace_count, doctor_memory_count, doctor_host_count;

/** doctor_found() - set result and detail */
void doctor_found(struct doctor_finding *f, enum doctor_result result, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/** doctor_failed() - MISSING, with ": strerror(errno)" */
void doctor_failed(struct doctor_finding *f, const char *what);
/** doctor_todo() - advice for this finding */
void doctor_todo(struct doctor_finding *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/** doctor_read_line() - first line of a small file. Return: 0, or a negative errno */
int doctor_read_line(const char *path, char *line, size_t size);

#endif
