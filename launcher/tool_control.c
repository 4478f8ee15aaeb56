/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "launcher/client.h"
#include "launcher/context.h"

int tool_connect(struct error *err)
{
	int fd = client_open(0, TOOL_CONNECT_MS, err);

	/* -ENOENT is also what warmd answers for an unknown name: keep the two apart */
	return fd == -ENOENT || fd == -ECONNREFUSED ? -ESRCH : fd;
}

/* Return: the packet, malloc'd, its size in *ret_size; NULL when it cannot be made */
static void *pack(const Warm__ControlRequest *request, size_t *ret_size)
{
	size_t size = sizeof(struct wire_header) + warm__control_request__get_packed_size(request);
	struct wire_header *header = malloc(size);

	if (!header)
		return NULL;
	*header = (struct wire_header){
		.magic = WIRE_MAGIC,
		.version = WIRE_VERSION_NUMBER,
		.type = WIRE_CONTROL,
		.size = (uint32_t)size,
	};
	warm__control_request__pack(request, (uint8_t *)(header + 1));
	*ret_size = size;
	return header;
}

int tool_control_fd(int fd, Warm__ControlRequest *request, unsigned int timeout_ms, Warm__ControlReply **ret,
		    struct error *err)
{
	_cleanup_free_ struct wire_header *packet = NULL;
	_cleanup_free_ struct wire_header *answer = NULL;
	_cleanup_(tool_reply_freep) Warm__ControlReply *reply = NULL;
	size_t size;
	ssize_t n;
	int r;

	packet = pack(request, &size);
	answer = malloc(WIRE_MAX_SIZE);
	if (!packet || !answer)
		return error_set(err, ENOMEM, "out of memory");
	if (size > WIRE_MAX_SIZE)
		return error_set(err, E2BIG, "too many names for one request");
	r = client_send(fd, packet, size, err);
	if (r < 0)
		return r;
	n = client_receive(fd, answer, WIRE_MAX_SIZE, WIRE_CONTROL_REPLY, timeout_ms, NULL, err);
	if (n < 0)
		return (int)n;
	reply = warm__control_reply__unpack(NULL, (size_t)n - sizeof(*answer), (const uint8_t *)(answer + 1));
	if (!reply)
		return error_set(err, EBADMSG, "the answer of warmd makes no sense");
	if (reply->error != 0 && reply->message[0] == '\0')
		return error_errno(err, reply->error, "warmd failed");
	if (reply->error != 0)
		return error_set(err, reply->error, "%s", reply->message);
	*ret = TAKE_PTR(reply);
	return 0;
}

int tool_control(Warm__ControlRequest *request, Warm__ControlReply **ret, struct error *err)
{
	_cleanup_close_ int fd = tool_connect(err);

	if (fd < 0)
		return fd;
	return tool_control_fd(fd, request, TOOL_CONNECT_MS, ret, err);
}

int tool_absolute(const char *path, char ret[PATH_MAX], struct error *err)
{
	_cleanup_free_ char *here = path[0] == '/' ? NULL : getcwd(NULL, 0);
	int n;

	if (path[0] != '/' && !here)
		return error_errno(err, errno, "the working directory");
	n = snprintf(ret, PATH_MAX, "%s%s%s", here ? here : "", here ? "/" : "", path);
	return n < PATH_MAX ? 0 : error_set(err, ENAMETOOLONG, "%.100s...: the path is too long", path);
}

/* WIRE_RUN_OUT. Return: the packet's size; 0: it does not fit */
static size_t add_out(void *packet, size_t size, const char *out)
{
	struct wire_run *run = packet;
	size_t len = strlen(out) + 1;

	if (len > WIRE_MAX_SIZE - size)
		return 0;
	memcpy((char *)packet + size, out, len);
	run->flags |= WIRE_RUN_OUT;
	run->strings_size += (uint32_t)len;
	run->header.size += (uint32_t)len;
	return run->header.size;
}

int tool_run_request(uint32_t flags, const char *name, const char *ready, unsigned int pool, int argc,
		     char **argv, bool start, unsigned int timeout_ms, const char *out,
		     struct wire_run_reply *ret, struct error *err)
{
	_cleanup_free_ void *packet = malloc(WIRE_MAX_SIZE);
	_cleanup_close_ int fd = -EBADF;
	size_t size;
	int r;

	if (!packet)
		return error_set(err, ENOMEM, "out of memory");
	size = context_collect(packet, WIRE_MAX_SIZE, flags, name, ready, argc, argv, environ);
	if (size == 0 && errno == E2BIG)
		return error_set(err, E2BIG, "arguments and environment are larger than %u KiB",
				 WIRE_MAX_SIZE / 1024);
	if (size == 0 && errno == ENOENT)
		return error_set(err, ENOENT, "the working directory does not exist any more");
	if (size == 0)
		return error_errno(err, errno, "cannot collect the program's context");
	((struct wire_run *)packet)->pool = pool;
	if (out)
		size = add_out(packet, size, out);
	if (size == 0)
		return error_set(err, E2BIG, "arguments and environment are larger than %u KiB",
				 WIRE_MAX_SIZE / 1024);
	fd = start ? client_open(1, TOOL_CONNECT_MS, err) : tool_connect(err);
	if (fd < 0)
		return fd;
	r = client_send(fd, packet, size, err);
	if (r < 0)
		return r;
	return client_receive_run(fd, ret, timeout_ms, NULL, err);
}

int tool_inspected(const char *name, Warm__ControlReply **ret_reply, Warm__Template **ret,
		   Warm__Clone **ret_clone, struct error *err)
{
	Warm__InspectRequest inspect = WARM__INSPECT_REQUEST__INIT;
	Warm__ControlRequest request = WARM__CONTROL_REQUEST__INIT;
	_cleanup_(tool_reply_freep) Warm__ControlReply *reply = NULL;
	int r;

	inspect.name = (char *)name;
	request.command_case = WARM__CONTROL_REQUEST__COMMAND_INSPECT;
	request.inspect = &inspect;
	r = tool_control(&request, &reply, err);
	if (r < 0)
		return r;
	if (ret_clone && reply->n_clones == 1) {
		*ret = NULL;
		*ret_clone = reply->clones[0];
		*ret_reply = TAKE_PTR(reply);
		return 0;
	}
	if (reply->n_templates != 1)
		return error_set(err, EBADMSG, "warmd answered with %zu templates, not with one",
				 reply->n_templates);
	*ret = reply->templates[0];
	*ret_reply = TAKE_PTR(reply);
	return 0;
}

int tool_template(const char *name, Warm__ControlReply **ret_reply, Warm__Template **ret, struct error *err)
{
	return tool_inspected(name, ret_reply, ret, NULL, err);
}
