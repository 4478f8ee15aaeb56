/* SPDX-License-Identifier: MIT */
#include "warmd/build/report.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "engine/base/fd.h"
#include "engine/base/packet.h"
#include "snapshot/plan/plan.h"

#define FDS_PER_PACKET 200
#define RESULT_MAX     (256u << 20)

static int result_memfd(const Warm__BuildResult *m, uint64_t *ret_size)
{
	size_t len = warm__build_result__get_packed_size(m);
	_cleanup_free_ uint8_t *bytes = malloc(len ? len : 1);
	_cleanup_close_ int fd = memfd_create("warm-result", MFD_CLOEXEC);
	int r;

	if (!bytes || fd < 0)
		return -ENOMEM;
	warm__build_result__pack(m, bytes);
	r = write_full(fd, bytes, len);
	if (r < 0)
		return r;
	*ret_size = len;
	return TAKE_FD(fd);
}

int report_send(int sock, const Warm__BuildResult *result, const int *fds, size_t n)
{
	struct report_head head = { .magic = REPORT_MAGIC, .nfds = (uint32_t)n };
	_cleanup_close_ int fd = result_memfd(result, &head.result_size);
	struct iovec piece = { &head, sizeof(head) };
	int r;

	if (fd < 0)
		return fd;
	r = packet_send(sock, &piece, 1, &fd, 1, 0);
	piece = (struct iovec){ (void *)"f", 1 };
	for (size_t at = 0; r == 0 && at < n; at += FDS_PER_PACKET)
		r = packet_send(sock, &piece, 1, fds + at, n - at < FDS_PER_PACKET ? n - at : FDS_PER_PACKET,
				0);
	return r;
}

void report_put_plan(Warm__BuildResult *m, const struct plan *plan)
{
	m->stub_base = plan->stub_base;
	m->text_size = plan->text_size;
	m->data_size = plan->data_size;
	m->args_base = plan->args_base;
	m->context_max = plan->context_max;
	m->sealed_bytes = plan->sealed_bytes;
	m->huge_bytes = plan->huge_bytes;
	m->huge_note = (char *)plan->huge_note;
	m->mappings = plan->nmaps;
	m->threads = plan->nthreads;
	m->nfiles = (uint32_t)plan->nfiles;
}

static int take_head(struct report *report, const void *bytes, struct packet *packet)
{
	memcpy(&report->head, bytes, sizeof(report->head));
	if (packet->len != sizeof(report->head) || report->head.magic != REPORT_MAGIC || packet->nfds != 1 ||
	    report->head.nfds > REPORT_FILES_MAX || report->head.result_size > RESULT_MAX)
		return -EBADMSG;
	report->fds = calloc(report->head.nfds + 1, sizeof(*report->fds));
	if (!report->fds)
		return -ENOMEM;
	report->result_fd = packet->fds[0];
	packet->nfds = 0;
	return 0;
}

static int take_fds(struct report *report, struct packet *packet)
{
	if (packet->nfds > report->head.nfds - report->nfds)
		return -EBADMSG;
	memcpy(report->fds + report->nfds, packet->fds, packet->nfds * sizeof(int));
	report->nfds += (uint32_t)packet->nfds;
	packet->nfds = 0;
	return 0;
}

int report_read(struct report *report, int sock)
{
	uint8_t bytes[sizeof(struct report_head)] = { 0 };
	struct packet packet;
	int r = packet_receive(sock, bytes, sizeof(bytes), &packet, MSG_DONTWAIT);

	if (r < 0)
		return r == -EAGAIN ? 0 : r;
	if (packet.len == 0)
		return -ECONNRESET;
	r = report->result_fd < 0 ? take_head(report, bytes, &packet) : take_fds(report, &packet);
	packet_close_fds(&packet);
	return r < 0 ? r : report->nfds >= report->head.nfds;
}

Warm__BuildResult *report_result(const struct report *report)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	struct stat st;

	if (fstat(report->result_fd, &st) < 0 || (uint64_t)st.st_size < report->head.result_size)
		return NULL;
	bytes = malloc(report->head.result_size ? report->head.result_size : 1);
	if (!bytes || pread_full(report->result_fd, bytes, report->head.result_size, 0) < 0)
		return NULL;
	return warm__build_result__unpack(NULL, report->head.result_size, bytes);
}

void report_done(struct report *report)
{
	report->result_fd = fd_close(report->result_fd);
	for (uint32_t i = 0; i < report->nfds; i++)
		fd_close(report->fds[i]);
	free(report->fds);
	report->fds = NULL;
	report->nfds = 0;
}
