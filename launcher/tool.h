/* SPDX-License-Identifier: MIT */
/*
 * tool.h - warm-tool: every command of `warm` that is not on the latency path.
 *
 * `warm` (static, made to start fast) execs warm-tool with its own argv for
 * all commands but those it does itself. In: the command line and this
 * process' context. Out: words or JSON on stdout, `warm: ...` on stderr, an exit status.
 *
 *	tool.c			dispatch, help
 *	tool_options.c		options, failures
 *	tool_NAME.c		one command each
 *	tool_control.c		control messages: one request, one reply
 *	tool_memory.c		memory of processes
 *	tool_metrics.c		`warm stats --prometheus`
 *	tool_format.c		ages, sizes, tables
 *	tool_json.c		protobuf to JSON
 *	doctor.c, doctor_*.c	`warm doctor`: its driver and its probes
 */
#ifndef WARM_LAUNCHER_TOOL_H
#define WARM_LAUNCHER_TOOL_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cjson/cJSON.h>

#include "engine/base/error.h"
#include "launcher/wire/protocol.h"
#include "launcher/wire/control.pb-c.h"

#ifndef WARM_VERSION
#define WARM_VERSION "unknown"
#endif

#define TOOL_FAILED	125 /* warm's own failures and wrong usage: as env(1) */
#define TOOL_CONNECT_MS 5000 /* bound of connecting, of starting warmd and of control answers */

struct tool_command {
	const char *name;
	int (*run)(const struct tool_command *self, int argc,
		   char **argv); /* argv[0]: the name. Return: exit status */
	const char *operands; /* of the usage line, after "warm NAME" */
	const char *summary; /* one line for `warm --help` */
	const char *details; /* what it does, options, examples */
};

extern const struct tool_command tool_attach, tool_build, tool_load, tool_ls, tool_ps, tool_rm, tool_inspect,
	tool_restore, tool_stats, tool_explain, tool_stop, tool_doctor;

/* --- tool_options.c ------------------------------------------------------------------- */

struct tool_option {
	const char *name; /* with its dashes: "--json" */
	const char **value; /* an option with a value; or NULL and */
	bool *flag; /* a switch */
};

enum tool_operands {
	TOOL_OPERANDS_FREE, /* options may stand behind operands too */
	TOOL_OPERANDS_NONE, /* as FREE, and any operand is a usage error */
	TOOL_OPERANDS_COMMAND, /* the first operand ends the options: the rest is a command's */
};

struct tool_args {
	int argc; /* operands */
	char **argv; /* NULL-terminated, within the caller's argv */
	bool dashes; /* "--" ended the options */
};

/**
 * tool_options() - take the options out of @argv
 * @options: ended by an entry without a name
 * @ret: the operands
 *
 * Return: -1 to go on; else the exit status to return at once: 0 after --help,
 * TOOL_FAILED after a usage error, said on stderr.
 */
int tool_options(const struct tool_command *command, const struct tool_option *options,
		 enum tool_operands operands, int argc, char **argv, struct tool_args *ret);

/** tool_options_json() - of a command that takes --json and nothing else. Return: as tool_options() */
int tool_options_json(const struct tool_command *command, int argc, char **argv, bool *ret_json);

/** tool_help() - the usage line and details of @command, on stdout */
void tool_help(const struct tool_command *command);

/** tool_usage() - "warm: WORDS" and a hint on stderr. Return: TOOL_FAILED */
int tool_usage(const struct tool_command *command, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/** tool_fail() - "warm: WORDS" on stderr. Return: TOOL_FAILED */
int tool_fail(const struct error *err);

/** tool_finish() - flush stdout. Return: 0, or TOOL_FAILED with words when it could not be written (a full disk) */
int tool_finish(void);

/* --- tool_control.c ----------------------------------------------------------- */

/**
 * tool_control() - one request to a running warmd and its answer
 * @ret: freed by the caller with warm__control_reply__free_unpacked(reply, NULL); set on success only
 *
 * Return: 0. -ESRCH: warmd is not running. Another negative errno: the connection's or warmd's own
 * (-ENOENT: no such template).
 */
int tool_control(Warm__ControlRequest *request, Warm__ControlReply **ret, struct error *err);

/** tool_control_fd() - the same on a connection. @timeout_ms as client_receive(). A reply that carries an error is one */
int tool_control_fd(int fd, Warm__ControlRequest *request, unsigned int timeout_ms, Warm__ControlReply **ret,
		    struct error *err);

/** tool_connect() - to a running warmd. Return: a descriptor, -ESRCH when none runs, or a negative errno */
int tool_connect(struct error *err);

/** tool_run_request() - collect the context, ask warmd, take its answer. @pool: clones to be kept parked, 0: none are asked for. @start: start warmd if need be (else -ESRCH). @out: WIRE_RUN_OUT; NULL: no image is asked for */
int tool_run_request(uint32_t flags, const char *name, const char *ready, unsigned int pool, int argc,
		     char **argv, bool start, unsigned int timeout_ms, const char *out,
		     struct wire_run_reply *ret, struct error *err);

/** tool_absolute() - @path as warmd, which is in another directory, has to name it. Return: 0 or a negative errno with words */
int tool_absolute(const char *path, char ret[PATH_MAX], struct error *err);

/** tool_template() - a template by name or id. @ret_reply owns *ret; free it as above. Return: 0 or a negative errno */
int tool_template(const char *name, Warm__ControlReply **ret_reply, Warm__Template **ret, struct error *err);

/** tool_inspected() - the same, or a clone by its PID: then *ret is NULL and *ret_clone is set */
int tool_inspected(const char *name, Warm__ControlReply **ret_reply, Warm__Template **ret,
		   Warm__Clone **ret_clone, struct error *err);

static inline void tool_reply_freep(Warm__ControlReply **reply)
{
	if (*reply)
		warm__control_reply__free_unpacked(*reply, NULL);
}

/* --- tool_inspect_image.c ------------------------------------------------------- */

/** tool_inspect_image() - print what is in the image @dir. @all: long lists in full. Return: exit status */
int tool_inspect_image(const char *dir, bool json, bool all);

/* --- tool_ps.c ---------------------------------------------------------------- */

/* clones as warmd knows them, in as many answers as it takes */
struct tool_clones {
	Warm__Clone **list; /* within replies */
	size_t count, room;
	Warm__ControlReply **replies;
	size_t nreplies;
};

/** tool_clones() - @all: parked ones, those that are being made and skeletons too. Return: 0, -ESRCH: warmd is not running, or another negative errno */
int tool_clones(bool all, struct tool_clones *ret, struct error *err);
void tool_clones_free(struct tool_clones *clones);

/** tool_is_clone() - of one by become: does it still run, and is it it? warmd cannot know, as it is not its child */
bool tool_is_clone(const Warm__Clone *clone);

/* --- tool_memory.c ------------------------------------------------------------ */

struct tool_memory {
	uint64_t rss, pss; /* bytes */
	uint64_t own, shared; /* the parts of pss: of its own; its share of files and of sealed memory */
};

/** tool_memory_parse() - @text of /proc/PID/smaps_rollup. Return: false: it is not that */
bool tool_memory_parse(const char *text, struct tool_memory *ret);
/** tool_memory() - of a process; about 1 ms for each 10,000 pages. Return: false: it has ended, or may not be looked at */
bool tool_memory(uint32_t pid, struct tool_memory *ret);

/* --- tool_metrics.c ----------------------------------------------------------- */

/** tool_metrics() - print what warmd tells Prometheus. Return: exit status */
int tool_metrics(void);

/* --- tool_format.c ------------------------------------------------------------ */

#define TOOL_TEXT_MAX 32

/** tool_age() - nanoseconds as "0s", "59s", "2m", "3h", "4d" */
const char *tool_age(uint64_t ns, char text[TOOL_TEXT_MAX]);
/** tool_since() - the age of a CLOCK_REALTIME time; "-" for 0, "0s" for the future */
const char *tool_since(uint64_t realtime_ns, char text[TOOL_TEXT_MAX]);
/** tool_bytes() - bytes as "512B", "4.0K", "12.3M", "1.5G" (powers of 1024) */
const char *tool_bytes(uint64_t bytes, char text[TOOL_TEXT_MAX]);
/** tool_duration() - nanoseconds as "850ns", "12.3us", "4.5ms", "1.2s" */
const char *tool_duration(uint64_t ns, char text[TOOL_TEXT_MAX]);
const char *tool_number(uint64_t number, char text[TOOL_TEXT_MAX]);

/** tool_command_line() - words joined by blanks, quoted as a shell wants them. Return: malloc'd, or NULL */
char *tool_command_line(size_t n, char *const *words);

/** tool_print_safe() - @text with control characters shown as '?': names come from elsewhere */
void tool_print_safe(FILE *out, const char *text);

#define TOOL_TABLE_COLUMNS 10
struct tool_table {
	unsigned int columns;
	unsigned int right; /* bit n: column n is right-aligned */
	size_t rows;
	char **cells; /* owned */
};

/** tool_table_row() - add one row of table->columns strings, which are copied. Return: 0 or -ENOMEM */
int tool_table_row(struct tool_table *table, ...);
/** tool_table_print() - columns aligned; the last one is cut to @width characters a line unless 0 */
void tool_table_print(const struct tool_table *table, FILE *out, unsigned int width);
/**
 * tool_table_finish() - print a whole output that is one table, as a command's last step
 * @r: what the rows returned: 0, or -ENOMEM, which is then said on stderr instead
 *
 * Return: exit status
 */
int tool_table_finish(const struct tool_table *table, int r, unsigned int width);
void tool_table_free(struct tool_table *table);
/** tool_width() - of the terminal on @fd; 0 if it is none */
unsigned int tool_width(int fd);

/* --- tool_json.c -------------------------------------------------------------- */

/** tool_json_text() - a string; bytes that are not UTF-8 become U+FFFD */
void tool_json_text(cJSON *object, const char *key, const char *text);
/** tool_json_number() - all 64 bits, which a double would not keep */
void tool_json_number(cJSON *object, const char *key, uint64_t number);
void tool_json_list(cJSON *object, const char *key, size_t n, char *const *texts);
cJSON *tool_json_template(const Warm__Template *t, bool details);
/** tool_json_clone() - @memory: NULL when it is not known */
cJSON *tool_json_clone(const Warm__Clone *clone, const struct tool_memory *memory);
/** tool_json_stats() - @memory: one for each of stats->by_template, a sum over its processes; NULL: not known */
cJSON *tool_json_stats(const Warm__Stats *stats, const struct tool_memory *memory);
/** tool_json_print() - print and free @json. Return: exit status */
int tool_json_print(cJSON *json);

#endif
