/* SPDX-License-Identifier: MIT */
#include "launcher/doctor.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "launcher/tool.h"

#define PROBE_SECONDS 5

static const char *const result_names[] = {
	[DOCTOR_UNKNOWN] = "unknown",
	[DOCTOR_OK] = "ok",
	[DOCTOR_LIMITED] = "limited",
	[DOCTOR_MISSING] = "missing",
};
_Static_assert(ARRAY_SIZE(result_names) == DOCTOR_RESULT_COUNT, "a name for each result");

void doctor_found(struct doctor_finding *f, enum doctor_result result, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->detail, sizeof(f->detail), fmt, ap);
	va_end(ap);
	f->result = result;
}

void doctor_failed(struct doctor_finding *f, const char *what)
{
	doctor_found(f, DOCTOR_MISSING, "%s: %s", what, strerror(errno));
}

void doctor_todo(struct doctor_finding *f, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->todo, sizeof(f->todo), fmt, ap);
	va_end(ap);
}

int doctor_read_line(const char *path, char *line, size_t size)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, line, size - 1);
	if (n < 0)
		return -errno;
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return 0;
}

/* in a process of its own, in a group of its own, so that what it started goes with it */
static void run_probe(const struct doctor_probe *probe, struct doctor_finding *f)
{
	int status = 0;
	pid_t child, parent = getpid();

	*f = (struct doctor_finding){ .result = DOCTOR_UNKNOWN };
	fflush(stdout);
	child = fork();
	if (child == 0) {
		setpgid(0, 0);
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		prctl(PR_SET_DUMPABLE, 1);
		alarm(PROBE_SECONDS);
		probe->probe(f);
		_exit(0);
	}
	if (child < 0) {
		doctor_failed(f, "cannot start a process");
		return;
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	kill(-child, SIGKILL);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		doctor_found(f, DOCTOR_MISSING, "no answer in %d seconds", PROBE_SECONDS);
	else if (WIFSIGNALED(status))
		doctor_found(f, DOCTOR_MISSING, "the probe was ended by signal %d (%s)", WTERMSIG(status),
			     strsignal(WTERMSIG(status)));
	else if (f->result == DOCTOR_UNKNOWN)
		doctor_found(f, DOCTOR_MISSING, "the probe ended without a result");
}

static const char *advice(const struct doctor_probe *probe, const struct doctor_finding *f)
{
	if (f->result == DOCTOR_OK)
		return "";
	return f->todo[0] ? f->todo : probe->todo ? probe->todo : "";
}

static void print_finding(const struct doctor_probe *probe, const struct doctor_finding *f, bool all)
{
	bool ok = f->result == DOCTOR_OK;

	printf("%-8s %-20s ", result_names[f->result], probe->name);
	tool_print_safe(stdout, f->detail);
	putchar('\n');
	if (!ok || all)
		printf("%*s%s: %s\n", 30, "", probe->needed ? "needed" : "for", probe->why);
	if (advice(probe, f)[0])
		printf("%*sdo: %s\n", 30, "", advice(probe, f));
}

static cJSON *json_finding(const struct doctor_probe *probe, const struct doctor_finding *f)
{
	cJSON *o = cJSON_CreateObject();

	tool_json_text(o, "name", probe->name);
	tool_json_text(o, "result", result_names[f->result]);
	cJSON_AddBoolToObject(o, "needed", probe->needed);
	tool_json_text(o, "detail", f->detail);
	tool_json_text(o, "why", probe->why);
	tool_json_text(o, "todo", advice(probe, f));
	return o;
}

/* Return: how many of the needed are missing; *limited is added to */
static unsigned int run_group(const struct doctor_probe *probes, size_t n, struct doctor_finding *f,
			      cJSON *json, bool all, unsigned int *limited)
{
	unsigned int missing = 0;

	for (size_t i = 0; i < n; i++) {
		run_probe(&probes[i], f);
		if (f->result == DOCTOR_MISSING && probes[i].needed)
			missing++;
		else if (f->result != DOCTOR_OK)
			(*limited)++;
		if (json)
			cJSON_AddItemToArray(json, json_finding(&probes[i], f));
		else
			print_finding(&probes[i], f, all);
	}
	return missing;
}

static int conclude(cJSON *probes, unsigned int missing, unsigned int limited)
{
	int r;

	if (probes) {
		cJSON *json = cJSON_CreateObject();

		cJSON_AddBoolToObject(json, "ok", missing == 0);
		cJSON_AddNumberToObject(json, "missing", missing);
		cJSON_AddNumberToObject(json, "limited", limited);
		cJSON_AddItemToObject(json, "probes", probes);
		r = tool_json_print(json);
		return missing ? TOOL_FAILED : r;
	}
	if (missing > 0)
		printf("\n%u of the things that warm needs %s missing: programs run cold\n", missing,
		       missing == 1 ? "is" : "are");
	else if (limited > 0)
		printf("\nall that warm needs is here; %u of the things that help %s not\n", limited,
		       limited == 1 ? "is" : "are");
	else
		puts("\nall that warm can use is here");
	r = tool_finish();
	return missing ? TOOL_FAILED : r;
}

static int run(const struct tool_command *self, int argc, char **argv)
{
	bool json = false, all = false;
	const struct tool_option options[] = { { "--json", .flag = &json }, { "-v", .flag = &all }, { 0 } };
	struct doctor_finding *shared;
	unsigned int missing, limited = 0;
	struct tool_args args;
	cJSON *probes;
	int r;

	r = tool_options(self, options, TOOL_OPERANDS_NONE, argc, argv, &args);
	if (r >= 0)
		return r;
	/* an ignored SIGCHLD would reap the probes unseen */
	signal(SIGCHLD, SIG_DFL);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED) {
		struct error err;

		error_errno(&err, errno, "cannot share memory with the probes");
		return tool_fail(&err);
	}
	probes = json ? cJSON_CreateArray() : NULL;
	missing = run_group(doctor_trace_probes, doctor_trace_count, shared, probes, all, &limited);
	missing += run_group(doctor_memory_probes, doctor_memory_count, shared, probes, all, &limited);
	missing += run_group(doctor_host_probes, doctor_host_count, shared, probes, all, &limited);
	munmap(shared, sizeof(*shared));
	return conclude(probes, missing, limited);
}

const struct tool_command tool_doctor = {
	.name = "doctor",
	.run = run,
	.operands = "[-v] [--json]",
	.summary = "check what this host offers to warm",
	.details = "Tries each thing of the kernel and of this host that warm relies on, and says what\n"
		   "is missing, what it is for and what to do. Changes nothing.\n"
		   "\n"
		   "  -v           say what it is for also where all is well\n"
		   "  --json       as JSON: ok, missing, limited, probes\n"
		   "\n"
		   "Exit status: 0 when all that warm needs is there, else 125.\n"
		   "\n"
		   "Examples:\n"
		   "  warm doctor\n"
		   "  warm doctor --json | jq -r '.probes[] | select(.result != \"ok\") | .name'\n",
};
