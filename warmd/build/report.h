/* SPDX-License-Identifier: MIT */
/*
 * report.h - how a process that makes a template tells warmd of it: a socket, and packets with descriptors.
 *
 * First packet: struct report_head with a memfd that holds a BuildResult (launcher/wire/control.proto). Further ones: a byte
 * each, with descriptors: the control and pages memfds and the mapped files. Builders and loaders report in the same way.
 */
#ifndef WARM_WARMD_BUILD_REPORT_H
#define WARM_WARMD_BUILD_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "launcher/wire/control.pb-c.h"

struct plan;

#define REPORT_MAGIC	 0x444c4942u
#define REPORT_FILES_MAX 4096

struct report_head {
	uint32_t magic;
	uint32_t nfds; /* in the packets that follow */
	uint64_t result_size; /* bytes of BuildResult in the memfd */
};

/**
 * report_send() - the whole report
 * @fds: @n of them; they stay the caller's. None with a result that is an error
 * Return: 0 or a negative errno
 */
int report_send(int sock, const Warm__BuildResult *result, const int *fds, size_t n);

/** report_put_plan() - what a launcher has to know of @plan; strings stay the plan's */
void report_put_plan(Warm__BuildResult *result, const struct plan *plan);

/* a report that comes in */
struct report {
	struct report_head head;
	int result_fd;
	int *fds; /* owned */
	uint32_t nfds;
};

#define REPORT_NONE                                                                                          \
	{                                                                                                    \
		.result_fd = -EBADF                                                                          \
	}

/** report_read() - the next packet, if there is one. Return: 1: it is complete; 0: more is to come; -ECONNRESET, -EBADMSG or another negative errno: there will be none */
int report_read(struct report *report, int sock);

/** report_result() - of a complete one; the caller frees it. Return: NULL: it is malformed, or there is no memory */
Warm__BuildResult *report_result(const struct report *report);

/** report_done() - closes what was not taken */
void report_done(struct report *report);

#endif
