/* SPDX-License-Identifier: MIT */
/*
 * keep_entry.c - an entry: what is kept beside a model, so that a launch can be compared with it and warmd can serve it.
 *
 * The same message in two places: whole in the image's facts, without what no launch is compared with in the file beside the
 * image. Both only this user can write to; the bytes are checked all the same, as disks and file systems err.
 */
#include "warmd/keep/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine/base/facts.h"
#include "engine/base/fd.h"
#include "warmd/keep/keep_internal.h"

#define ENTRY_MAGIC "WARMKEPT"
#define ENTRY_MAX   (64u << 20)

/* in front of the message */
struct entry_head {
	char magic[8];
	uint64_t checksum; /* hash_bytes() of what follows */
};

const char *keep_entry_name(const char *id, char ret[KEEP_ENTRY_NAME_SIZE])
{
	snprintf(ret, KEEP_ENTRY_NAME_SIZE, "%.*s%s", KEEP_ID_SIZE - 1, id, KEEP_ENTRY_SUFFIX);
	return ret;
}

void keep_entry_free(Warm__Kept *kept)
{
	if (kept)
		warm__kept__free_unpacked(kept, NULL);
}

static Warm__BuildResult *copy_result(const Warm__BuildResult *result)
{
	size_t size = warm__build_result__get_packed_size(result);
	_cleanup_free_ uint8_t *bytes = malloc(size ? size : 1);

	if (!bytes)
		return NULL;
	warm__build_result__pack(result, bytes);
	return warm__build_result__unpack(NULL, size, bytes);
}

int keep_entry_put_request(Warm__Kept *kept, const struct request *req)
{
	kept->request.len = sizeof(req->run) + req->run.strings_size;
	kept->request.data = malloc(kept->request.len);
	if (!kept->request.data)
		return -ENOMEM;
	memcpy(kept->request.data, &req->run, sizeof(req->run));
	memcpy(kept->request.data + sizeof(req->run), req->bytes, req->run.strings_size);
	return 0;
}

static int put_facts(Warm__Kept *kept, bool boot, const struct config *config)
{
	kept->facts = calloc(KEEP_FACTS, sizeof(*kept->facts));
	if (!kept->facts)
		return -ENOMEM;
	/* facts[i] is of enum keep_fact i; 0: it does not count */
	kept->n_facts = KEEP_FACTS;
	for (unsigned int i = 0; i < KEEP_FACTS; i++)
		kept->facts[i] = i == KEEP_FACT_BOOT && !boot ? 0 : keep_fact_value(i, config);
	return 0;
}

int keep_entry_make(const struct request *req, const Warm__BuildResult *result, uint64_t created_ns,
		    uint64_t build_ns, const struct config *config, Warm__Kept **ret)
{
	Warm__Kept *kept = malloc(sizeof(*kept));
	int r;

	if (!kept)
		return -ENOMEM;
	warm__kept__init(kept);
	kept->created_ns = created_ns;
	kept->build_ns = build_ns;
	r = keep_entry_put_request(kept, req);
	if (r == 0)
		r = put_facts(kept, result->boot, config);
	kept->result = r == 0 ? copy_result(result) : NULL;
	if (!kept->result) {
		keep_entry_free(kept);
		return -ENOMEM;
	}
	*ret = kept;
	return 0;
}

void keep_entry_slim(Warm__Kept *kept)
{
	Warm__BuildResult *r = kept->result;

	free(r->dependencies.data);
	r->dependencies.data = NULL;
	r->dependencies.len = 0;
	for (size_t i = 0; i < r->n_memory; i++)
		warm__mapping__free_unpacked(r->memory[i], NULL);
	free(r->memory);
	r->memory = NULL;
	r->n_memory = 0;
}

int keep_entry_pack(const Warm__Kept *kept, uint8_t **ret, size_t *ret_size)
{
	size_t size = warm__kept__get_packed_size(kept);
	struct entry_head head = { .magic = ENTRY_MAGIC };
	uint8_t *bytes = malloc(sizeof(head) + size);

	if (!bytes)
		return -ENOMEM;
	warm__kept__pack(kept, bytes + sizeof(head));
	head.checksum = hash_bytes(HASH_SEED, bytes + sizeof(head), size);
	memcpy(bytes, &head, sizeof(head));
	*ret = bytes;
	*ret_size = sizeof(head) + size;
	return 0;
}

int keep_entry_unpack(const void *bytes, size_t size, Warm__Kept **ret)
{
	const uint8_t *message = (const uint8_t *)bytes + sizeof(struct entry_head);
	struct entry_head head;
	Warm__Kept *kept;

	if (size < sizeof(head))
		return -EBADMSG;
	memcpy(&head, bytes, sizeof(head));
	size -= sizeof(head);
	if (memcmp(head.magic, ENTRY_MAGIC, sizeof(head.magic)) != 0 ||
	    head.checksum != hash_bytes(HASH_SEED, message, size))
		return -EBADMSG;
	kept = warm__kept__unpack(NULL, size, message);
	if (!kept || !kept->result || kept->n_facts != KEEP_FACTS) {
		keep_entry_free(kept);
		return -EBADMSG;
	}
	*ret = kept;
	return 0;
}

int keep_entry_request(const Warm__Kept *kept, struct request **ret)
{
	struct request *req;
	int r = request_parse(kept->request.data, kept->request.len, &req, NULL);

	if (r < 0)
		return r;
	if (req->run.header.type != WIRE_RUN) {
		request_free(req);
		return -EBADMSG;
	}
	*ret = req;
	return 0;
}

/* written aside, fsynced and renamed, so that an entry is there whole or not at all */
int keep_entry_write(int folder, const char *id, const Warm__Kept *kept)
{
	char name[KEEP_ENTRY_NAME_SIZE], temporary[sizeof(KEEP_ENTRY_TEMPORARY) + KEEP_ID_SIZE];
	_cleanup_free_ uint8_t *bytes = NULL;
	_cleanup_close_ int fd = -EBADF;
	size_t size;
	int r = keep_entry_pack(kept, &bytes, &size);

	if (r < 0)
		return r;
	snprintf(temporary, sizeof(temporary), "%s%s", KEEP_ENTRY_TEMPORARY, id);
	fd = openat(folder, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return -errno;
	r = write_full(fd, bytes, size);
	if (r == 0 && fsync(fd) < 0)
		r = -errno;
	if (r == 0 && renameat(folder, temporary, folder, keep_entry_name(id, name)) < 0)
		r = -errno;
	if (r < 0)
		unlinkat(folder, temporary, 0);
	else if (fsync(folder) < 0)
		r = -errno;
	return r;
}

int keep_entry_read(int folder, const char *id, Warm__Kept **ret)
{
	char name[KEEP_ENTRY_NAME_SIZE];
	_cleanup_close_ int fd = openat(folder, keep_entry_name(id, name),
					O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	_cleanup_free_ char *bytes = NULL;
	struct stat st;
	size_t size;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 022))
		return -EACCES;
	if ((uint64_t)st.st_size > ENTRY_MAX)
		return -EBADMSG;
	r = read_fd(fd, &bytes, &size);
	return r < 0 ? r : keep_entry_unpack(bytes, size, ret);
}

const char *keep_entry_differs(const Warm__Kept *kept, const struct config *config)
{
	for (unsigned int i = 0; i < KEEP_FACTS; i++)
		if (kept->facts[i] && kept->facts[i] != keep_fact_value(i, config))
			return keep_fact_name(i);
	return NULL;
}
