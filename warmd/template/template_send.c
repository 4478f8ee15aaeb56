/* SPDX-License-Identifier: MIT */
#include "warmd/template/template_send.h"

#include <sys/socket.h>

#include "engine/base/packet.h"

static int send_packet(int fd, const void *packet, size_t len, const int *fds, size_t nfds)
{
	struct iovec piece = { (void *)packet, len };

	return packet_send(fd, &piece, 1, fds, nfds, MSG_DONTWAIT);
}

void template_describe(const struct template *t, struct wire_run_reply *reply)
{
	*reply = (struct wire_run_reply){
		.header = { .magic = WIRE_MAGIC,
			    .version = WIRE_VERSION_NUMBER,
			    .type = WIRE_RUN_REPLY,
			    .size = sizeof(*reply) },
		.stub_base = t->result->stub_base,
		.text_size = t->result->text_size,
		.data_size = t->result->data_size,
		.args_base = t->result->args_base,
		.context_max = t->result->context_max,
		.template_id = t->id,
		.learn_key = t->learn_key,
	};
}

int template_send(int fd, struct wire_run_reply *reply, const struct template *t)
{
	struct wire_header more = { .magic = WIRE_MAGIC,
				    .version = WIRE_VERSION_NUMBER,
				    .type = WIRE_RUN_REPLY,
				    .size = sizeof(more) };
	uint32_t at = t->nfds < WIRE_MAX_FDS ? t->nfds : WIRE_MAX_FDS;
	int r;

	reply->nfds = t->nfds;
	r = send_packet(fd, reply, sizeof(*reply), t->fds, at);
	while (r == 0 && at < t->nfds) {
		uint32_t n = t->nfds - at < WIRE_MAX_FDS ? t->nfds - at : WIRE_MAX_FDS;

		r = send_packet(fd, &more, sizeof(more), t->fds + at, n);
		at += n;
	}
	return r;
}
