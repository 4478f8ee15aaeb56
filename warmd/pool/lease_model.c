/* SPDX-License-Identifier: MIT */
#include "warmd/pool/lease_model.h"

#include <errno.h>
#include <string.h>

#include "engine/base/facts.h"
#include "engine/base/fd.h"
#include "warmd/template/match.h"

static void *add(void *at, const void *from, size_t len)
{
	if (len)
		memcpy(at, from, len);
	return (char *)at + len;
}

/* names of variables that count, each ended by NUL. Return: bytes; @at NULL: only those. *ret_all: all count */
static size_t put_names(const struct template *t, char *at, bool *ret_all)
{
	const Warm__BuildResult *r = t->result;
	bool listed_only = template_asks_for_context(t);
	size_t n = 0;

	*ret_all = !listed_only && (r->environment_all || r->environment_exact);
	for (size_t i = 0; i < r->n_environment; i++) {
		size_t len = strlen(r->environment[i]) + 1;

		*ret_all |= strcmp(r->environment[i], "*") == 0;
		if (at)
			memcpy(at + n, r->environment[i], len);
		n += len;
	}
	return n;
}

/* as order.c: fill_arguments(). Return: false: not to be told in these words */
static bool describe_arguments(struct wire_model *m, const struct pool *p, const struct request *req,
			       const struct order *o)
{
	const struct request *had = p->template->request;
	int32_t counts = p->template->result->argv_count;
	uint32_t same = 0, from = p->head.argv_drop;

	m->fixed_argc = o->head.argc;
	m->fixed_size = o->head.argv_size;
	if (req->run.flags & WIRE_LAUNCH_APPEND)
		return !req->run.argc;
	while (same < had->run.argc && same < req->run.argc && strcmp(had->argv[same], req->argv[same]) == 0)
		same++;
	if (counts < 0 && same < had->run.argc)
		return false;
	m->argv_from = from;
	m->argv_same = counts < 0 ? had->run.argc : (uint32_t)counts;
	if (m->argv_same < from)
		m->argv_same = from;
	if (template_read_arguments(p->template))
		m->argv_same = UINT32_MAX;
	if (req->run.argc < from)
		return false;
	m->fixed_argc = p->head.argv_prefix_n;
	m->fixed_size = (uint32_t)p->prefix_len;
	return true;
}

int lease_send_model(const struct pool *p, const struct launch_request *l, const struct order *o, uint64_t id)
{
	static uint64_t buf[WIRE_MODEL_MAX / 8];
	struct wire_model *m = (struct wire_model *)buf;
	const struct request *req = l->request;
	bool own_environment = req->run.flags & WIRE_LAUNCH_ENV, all;
	size_t names = put_names(p->template, NULL, &all), size;
	uint64_t room = STUB_ORDER_STRINGS, threads = 8ull * p->root.nthreads + 64;
	int fds[2] = { watch_fd(p->pools->store->watch), drain_fd(p->template->watch) };
	void *at = m + 1;

	*m = (struct wire_model){ .model = id };
	if (!describe_arguments(m, p, req, o))
		return -EOPNOTSUPP;
	if (p->root.context_max) {
		if (p->root.context_max < threads)
			return -E2BIG;
		if (p->root.context_max - threads < room)
			room = p->root.context_max - threads;
	}
	m->strings_room = (uint32_t)room;
	m->order_size = sizeof(o->head);
	m->environment_all = all;
	m->env_size = own_environment ? 0 : o->head.env_size;
	m->names_size = (uint32_t)names;
	_Static_assert(ARRAY_SIZE(m->facts) == FACTS, "each fact has its place");
	for (size_t i = 0; i < p->template->result->n_facts; i++) {
		const Warm__Fact *f = p->template->result->facts[i];

		if (!f->path[0] && f->kind < FACTS)
			m->facts[f->kind] = f->value;
	}
	size = sizeof(*m) + sizeof(req->run) + sizeof(o->head) + req->run.strings_size + m->fixed_size +
	       m->env_size + names;
	if (size > sizeof(buf))
		return -E2BIG;
	m->header = (struct wire_header){ .magic = WIRE_MAGIC,
					  .version = WIRE_VERSION_NUMBER,
					  .type = WIRE_MODEL,
					  .size = (uint32_t)size };
	at = add(at, &req->run, sizeof(req->run));
	at = add(at, &o->head, sizeof(o->head));
	at = add(at, req->bytes, req->run.strings_size);
	if (req->run.flags & WIRE_LAUNCH_APPEND)
		at = add(at, p->build_argv, m->fixed_size);
	else
		at = add(at, p->prefix, m->fixed_size);
	at = add(at, p->build_env, m->env_size);
	put_names(p->template, at, &all);
	return connection_send(l->connection, m, size, fds, 2);
}
