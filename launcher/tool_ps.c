/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "engine/base/proc_path.h"
#include "launcher/wire/words.h"

/* --- which there are ------------------------------------------------------------------- */

void tool_clones_free(struct tool_clones *c)
{
	for (size_t i = 0; i < c->nreplies; i++)
		warm__control_reply__free_unpacked(c->replies[i], NULL);
	free(c->replies);
	free(c->list);
	*c = (struct tool_clones){ 0 };
}

/* CLOCK_REALTIME of a process' start in ns, to a clock tick; 0: it is gone */
static uint64_t started_ns(uint32_t pid)
{
	uint64_t boot = clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_BOOTTIME), ticks = 0;
	_cleanup_free_ char *text = NULL;
	const char *at;
	int field = 2;

	if (read_file(proc_path((pid_t)pid, "stat").text, &text, NULL) < 0)
		return 0;
	/* its name, field 2, may hold anything: proc_pid_stat(5) */
	at = strrchr(text, ')');
	if (!at || (at[1] == ' ' && (at[2] == 'Z' || at[2] == 'X')))
		return 0;
	for (; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		ticks = strtoull(at, NULL, 10);
	return ticks ? boot + ticks * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK)) : 0;
}

bool tool_is_clone(const Warm__Clone *clone)
{
	_cleanup_free_ char *maps = NULL;
	uint64_t started = started_ns(clone->pid);

	/* one that started after the launch has only its number */
	if (!started || started > clone->since_ns + NS_PER_S / 20)
		return false;
	/* one that went on cold, or has executed another program, has no template's memory any more */
	return read_file(proc_path((pid_t)clone->pid, "maps").text, &maps, NULL) < 0 ||
	       strstr(maps, "/memfd:warm");
}

/* the states in the order of the enumeration, and the newest of each first */
static int rank(const Warm__Clone *c)
{
	return (int)wire_clone_state_of(c->state);
}

static int compare(const void *a, const void *b)
{
	const Warm__Clone *x = *(Warm__Clone *const *)a, *y = *(Warm__Clone *const *)b;

	if (rank(x) != rank(y))
		return rank(x) - rank(y);
	return x->since_ns > y->since_ns ? -1 : x->since_ns < y->since_ns;
}

static bool known(const struct tool_clones *clones, uint32_t pid)
{
	for (size_t i = 0; i < clones->count; i++)
		if (clones->list[i]->pid == pid)
			return true;
	return false;
}

/* those by become, newest first, and only where their numbers are nobody else's */
static void add_become(struct tool_clones *clones, const Warm__ControlReply *reply)
{
	for (size_t i = reply->n_clones; i-- > 0;) {
		Warm__Clone *c = reply->clones[i];

		if (strcmp(c->way, wire_way_name(WIRE_WAY_BECOME)) == 0 && !known(clones, c->pid) &&
		    tool_is_clone(c))
			clones->list[clones->count++] = c;
	}
}

/* Return: 1: there are more; 0; or a negative errno */
static int ask(int fd, bool all, uint64_t *after, struct tool_clones *clones, struct error *err)
{
	Warm__PsRequest ps = WARM__PS_REQUEST__INIT;
	Warm__ControlRequest request = WARM__CONTROL_REQUEST__INIT;
	Warm__ControlReply *reply = NULL;
	Warm__Clone **list;
	uint64_t before = *after;
	int r;

	ps.all = all;
	ps.after = *after;
	request.command_case = WARM__CONTROL_REQUEST__COMMAND_PS;
	request.ps = &ps;
	r = tool_control_fd(fd, &request, TOOL_CONNECT_MS, &reply, err);
	if (r < 0)
		return r;
	clones->room += reply->n_clones;
	list = realloc(clones->list, (clones->room + 1) * sizeof(*list));
	if (list)
		clones->list = list;
	if (!list || array_reserve(&clones->replies, clones->nreplies, 1, sizeof(reply)) < 0) {
		warm__control_reply__free_unpacked(reply, NULL);
		return error_set(err, ENOMEM, "out of memory");
	}
	clones->replies[clones->nreplies++] = reply;
	for (size_t i = 0; i < reply->n_clones; i++) {
		Warm__Clone *c = reply->clones[i];

		if (strcmp(c->way, wire_way_name(WIRE_WAY_BECOME)) != 0)
			clones->list[clones->count++] = c;
		*after = c->id > *after ? c->id : *after;
	}
	return reply->more && *after > before;
}

int tool_clones(bool all, struct tool_clones *ret, struct error *err)
{
	_cleanup_close_ int fd = tool_connect(err);
	struct tool_clones clones = { 0 };
	uint64_t after = 0;
	int r;

	if (fd < 0)
		return fd;
	do
		r = ask(fd, all, &after, &clones, err);
	while (r > 0);
	if (r < 0) {
		tool_clones_free(&clones);
		return r;
	}
	add_become(&clones, clones.replies[0]);
	if (clones.count)
		qsort(clones.list, clones.count, sizeof(*clones.list), compare);
	*ret = clones;
	return 0;
}

/* --- the command ----------------------------------------------------------------------- */

static int add_row(struct tool_table *table, const Warm__Clone *c)
{
	char pid[TOOL_TEXT_MAX], age[TOOL_TEXT_MAX], pss[TOOL_TEXT_MAX], own[TOOL_TEXT_MAX],
		rss[TOOL_TEXT_MAX];
	struct tool_memory m;
	bool measured = tool_memory(c->pid, &m);

	return tool_table_row(table, tool_number(c->pid, pid), c->state, c->way[0] ? c->way : "-",
			      tool_since(c->since_ns, age), measured ? tool_bytes(m.pss, pss) : "-",
			      measured ? tool_bytes(m.own, own) : "-",
			      measured ? tool_bytes(m.rss, rss) : "-", c->template_name);
}

static int print_table(const struct tool_clones *clones)
{
	_cleanup_(tool_table_free) struct tool_table table = { .columns = 8, .right = 0x79 };
	int r = tool_table_row(&table, "PID", "STATE", "WAY", "AGE", "PSS", "PRIVATE", "RSS", "TEMPLATE");

	for (size_t i = 0; r == 0 && i < clones->count; i++)
		r = add_row(&table, clones->list[i]);
	return tool_table_finish(&table, r, tool_width(STDOUT_FILENO));
}

static int print_json(const struct tool_clones *clones)
{
	cJSON *json = cJSON_CreateArray();

	for (size_t i = 0; i < clones->count; i++) {
		struct tool_memory m;
		bool measured = tool_memory(clones->list[i]->pid, &m);

		cJSON_AddItemToArray(json, tool_json_clone(clones->list[i], measured ? &m : NULL));
	}
	return tool_json_print(json);
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	bool json = false, all = false;
	const struct tool_option options[] = {
		{ "--json", .flag = &json }, { "--all", .flag = &all }, { "-a", .flag = &all }, { 0 }
	};
	_cleanup_(tool_clones_free) struct tool_clones clones = { 0 };
	struct tool_args args;
	struct error err;
	int r;

	r = tool_options(self, options, TOOL_OPERANDS_NONE, argc, argv, &args);
	if (r >= 0)
		return r;
	r = tool_clones(all, &clones, &err);
	if (r < 0 && r != -ESRCH) /* no daemon: none that it knows */
		return tool_fail(&err);
	return json ? print_json(&clones) : print_table(&clones);
}

const struct tool_command tool_ps = {
	.name = "ps",
	.run = run,
	.operands = "[--all] [--json]",
	.summary = "list the clones that run",
	.details = "One clone a line: its PID, state, the way it was launched (become, fork, parked), age\n"
		   "since its launch, memory, and template. PSS is its part of all memory, where what n\n"
		   "processes share counts for 1/n; PRIVATE the part that nobody shares; RSS all that it\n"
		   "has in memory. Measuring takes about 1 ms a clone.\n"
		   "Of clones by become, which are no children of warmd, those of the last 256 launches\n"
		   "are listed.\n"
		   "\n"
		   "  -a, --all    parked clones, those that are being made, and skeletons too\n"
		   "  --json       as JSON, an array with an object for each\n"
		   "\n"
		   "Examples:\n"
		   "  warm ps\n"
		   "  warm ps --all --json | jq 'map(.private_bytes) | add'\n"
		   "  warm ps --json | jq -r '.[] | select(.template == \"shop\") | .pid' | xargs -r kill\n",
};
