/* SPDX-License-Identifier: MIT */
/* Formats, options, JSON, the launch context and the rule for the runtime directory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/base/fd.h"
#include "launcher/client.h"
#include "launcher/context.h"
#include "launcher/tool.h"

static char packet[WIRE_MAX_SIZE] __attribute__((aligned(8)));

/* --- formats ---------------------------------------------------------------------- */

static void test_formats(void **state)
{
	char text[TOOL_TEXT_MAX];

	(void)state;
	assert_string_equal(tool_age(0, text), "0s");
	assert_string_equal(tool_age(59999999999ull, text), "59s");
	assert_string_equal(tool_age(60000000000ull, text), "1m");
	assert_string_equal(tool_age(86400000000000ull * 3, text), "3d");
	assert_string_equal(tool_since(0, text), "-");
	assert_string_equal(tool_since(UINT64_MAX, text), "0s");
	assert_string_equal(tool_bytes(0, text), "0B");
	assert_string_equal(tool_bytes(1023, text), "1023B");
	assert_string_equal(tool_bytes(1024, text), "1.0K");
	assert_string_equal(tool_bytes(1024 * 1024 - 1, text), "1.0M");
	assert_string_equal(tool_bytes(UINT64_MAX, text), "16.0E");
	assert_string_equal(tool_duration(999, text), "999ns");
	assert_string_equal(tool_duration(12345, text), "12.3us");
	assert_string_equal(tool_duration(999999, text), "1.0ms");
	assert_string_equal(tool_duration(1500000000, text), "1.5s");
	assert_string_equal(tool_number(UINT64_MAX, text), "18446744073709551615");
}

static void test_command_line(void **state)
{
	char *words[] = { (char *)"a/b", (char *)"", (char *)"it's", (char *)"x y", (char *)"$HOME" };
	_cleanup_free_ char *line = tool_command_line(5, words);

	(void)state;
	assert_string_equal(line, "a/b '' 'it'\\''s' 'x y' '$HOME'");
}

static void test_table(void **state)
{
	_cleanup_(tool_table_free) struct tool_table table = { .columns = 3, .right = 2 };
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	(void)state;
	assert_int_equal(tool_table_row(&table, "NAME", "N", "REST"), 0);
	assert_int_equal(tool_table_row(&table, "\xc3\xa4", "1000", "a long\nrest of it"), 0);
	tool_table_print(&table, out, 24);
	fclose(out);
	assert_string_equal(text, "NAME     N  REST\n\xc3\xa4     1000  a long?rest \n");
}

/* --- options ---------------------------------------------------------------------- */

static bool flag;
static const char *value;
static const struct tool_option options[] = { { "--flag", .flag = &flag },
					      { "--value", .value = &value },
					      { 0 } };

static int parse(enum tool_operands kind, struct tool_args *args, const char *const *words)
{
	static char *argv[16];
	int argc = 0;

	flag = false;
	value = NULL;
	for (argv[argc++] = (char *)"ls"; *words; words++)
		argv[argc++] = (char *)*words;
	argv[argc] = NULL;
	return tool_options(&tool_ls, options, kind, argc, argv, args);
}
#define PARSE(kind, args, ...) parse(kind, args, (const char *const[]){ __VA_ARGS__, NULL })

static void test_options(void **state)
{
	struct tool_args args;

	(void)state;
	assert_int_equal(PARSE(TOOL_OPERANDS_COMMAND, &args, "--value", "v", "cmd", "--flag"), -1);
	assert_false(flag);
	assert_string_equal(value, "v");
	assert_int_equal(args.argc, 2);
	assert_string_equal(args.argv[1], "--flag");
	assert_null(args.argv[2]);

	assert_int_equal(PARSE(TOOL_OPERANDS_FREE, &args, "a", "--flag", "--value=", "-", "--", "--flag"),
			 -1);
	assert_true(flag);
	assert_true(args.dashes);
	assert_string_equal(value, "");
	assert_int_equal(args.argc, 3);
	assert_string_equal(args.argv[1], "-");
	assert_string_equal(args.argv[2], "--flag");

	assert_int_equal(PARSE(TOOL_OPERANDS_COMMAND, &args, "--", "--flag"), -1);
	assert_true(args.dashes);
	assert_false(flag);
	assert_int_equal(args.argc, 1);

	assert_int_equal(PARSE(TOOL_OPERANDS_FREE, &args, "--flags"), TOOL_FAILED);
	assert_int_equal(PARSE(TOOL_OPERANDS_FREE, &args, "--flag=1"), TOOL_FAILED);
	assert_int_equal(PARSE(TOOL_OPERANDS_FREE, &args, "--value"), TOOL_FAILED);
}

/* --- JSON ------------------------------------------------------------------------- */

static void test_json(void **state)
{
	cJSON *json = cJSON_CreateObject();
	_cleanup_free_ char *text = NULL;

	(void)state;
	tool_json_number(json, "n", UINT64_MAX);
	tool_json_text(json, "good", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
	/* a lone byte, an overlong '/', a surrogate, a cut sequence */
	tool_json_text(json, "bad", "\xff|\xc0\xaf|\xed\xa0\x80|\xe2\x82");
	text = cJSON_PrintUnformatted(json);
	cJSON_Delete(json);
#define R "\xef\xbf\xbd"
	assert_string_equal(text,
			    "{\"n\":18446744073709551615,\"good\":\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\","
			    "\"bad\":\"" R "|" R R "|" R R R "|" R R "\"}");
}

/* --- memory ----------------------------------------------------------------------- */

static void test_memory(void **state)
{
	static const char text[] =
		"00400000-7ffd85b9d000 ---p 00000000 00:00 0                  [rollup]\n"
		"Rss:                8132 kB\nPss:                3512 kB\n"
		"Pss_Dirty:          1024 kB\nPss_Anon:           1021 kB\n"
		"Pss_File:            400 kB\nPss_Shmem:          2091 kB\nSwapPss: 0 kB\n";
	struct tool_memory m = { 0 };

	(void)state;
	assert_true(tool_memory_parse(text, &m));
	assert_int_equal(m.rss, 8132 * 1024);
	assert_int_equal(m.pss, 3512 * 1024);
	assert_int_equal(m.own, 1021 * 1024);
	assert_int_equal(m.shared, (400 + 2091) * 1024);
	assert_false(tool_memory_parse("", &m));
	assert_false(tool_memory_parse("Rss: 1 kB\nPss: 1 kB", &m));
	assert_true(tool_memory((uint32_t)getpid(), &m));
	assert_true(m.rss >= m.pss && m.pss >= m.own && m.own > 0);
	assert_false(tool_memory(UINT32_MAX, &m));
}

static void test_status_names(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < WIRE_STATUS_COUNT; i++)
		assert_true(wire_status_name(i) && strcmp(wire_status_name(i), "unknown") != 0);
	assert_string_equal(wire_status_name(WIRE_WARM), "warm");
	assert_string_equal(wire_status_name(WIRE_COLD_NO_DAEMON), "no_daemon");
	assert_string_equal(wire_status_name(4711), "unknown");
}

/* --- the launch context ------------------------------------------------------------ */

static void test_context(void **state)
{
	char *argv[] = { (char *)"prog", (char *)"", NULL }, *envp[] = { (char *)"A=1", NULL };
	const struct wire_run *run = (void *)packet;
	const char *at = (const char *)(run + 1);
	struct sigaction ignore = { .sa_handler = SIG_IGN }, old;
	char cwd[4096];
	sigset_t blocked;
	size_t n;
	int fd;

	(void)state;
	sigaction(SIGUSR2, &ignore, &old);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGWINCH);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	fd = open("/", O_PATH | O_CLOEXEC);
	n = context_collect(packet, sizeof(packet), WIRE_RUN_BUILD, NULL, NULL, 2, argv, envp);
	sigprocmask(SIG_UNBLOCK, &blocked, NULL);
	sigaction(SIGUSR2, &old, NULL);

	assert_non_null(getcwd(cwd, sizeof(cwd)));
	assert_int_equal(n, sizeof(*run) + 1 + 5 + strlen(cwd) + 1 + 5 + 1 + 4);
	assert_int_equal(run->header.size, n);
	assert_int_equal(run->header.magic, WIRE_MAGIC);
	assert_int_equal(run->header.type, WIRE_RUN);
	assert_int_equal(run->strings_size, n - sizeof(*run));
	assert_int_equal(run->argc, 2);
	assert_int_equal(run->envc, 1);
	assert_memory_equal(at, "\0auto\0", 6);
	assert_string_equal(at + 6, cwd);
	assert_memory_equal(at + 6 + strlen(cwd) + 1, "prog\0\0A=1", 10);
	assert_true(run->ignored_signals >> (SIGUSR2 - 1) & 1);
	assert_true(run->blocked_signals >> (SIGWINCH - 1) & 1);
	assert_true(run->scheduling.affinity != 0);
	if (fd < 8) /* O_PATH looks closed to poll(2) */
		assert_true(run->inherited_fds[0] >> fd & 1);
	close(fd);
	assert_int_equal(umask(022), run->umask);
	umask(run->umask);
	for (int i = 0; i < WIRE_RLIMITS; i++) {
		struct rlimit limit;

		assert_int_equal(getrlimit(i, &limit), 0);
		assert_true(run->rlimits[i][0] == limit.rlim_cur && run->rlimits[i][1] == limit.rlim_max);
	}
}

static void test_context_sizes(void **state)
{
	char *argv[] = { (char *)"prog", NULL }, *envp[] = { (char *)"A=1", NULL };
	size_t n = context_collect(packet, sizeof(packet), 0, "n", "main", 1, argv, envp);

	(void)state;
	assert_true(n > sizeof(struct wire_run));
	assert_int_equal(context_collect(packet, n, 0, "n", "main", 1, argv, envp), n);
	for (size_t size = 0; size < n; size++) {
		memset(packet + size, 0x55, 16);
		errno = 0;
		assert_int_equal(context_collect(packet, size, 0, "n", "main", 1, argv, envp), 0);
		assert_int_equal(errno, E2BIG);
		assert_memory_equal(packet + size, "UUUUUUUUUUUUUUUU", 16);
	}
	assert_int_equal(context_collect(packet, n, 0, "n", "main", 0, argv + 1, envp), 0);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(context_collect(packet, sizeof(packet), 0, "n", "main", 1, argv, NULL), n - 4);
}

/* --- the connection ----------------------------------------------------------------- */

static void test_runtime_dir(void **state)
{
	char path[] = "/tmp/warm-test-XXXXXX", own[64], path_in[RUNTIME_PATH_MAX];
	struct runtime_dir dir;
	struct error err;

	(void)state;
	assert_non_null(mkdtemp(path));
	snprintf(own, sizeof(own), "%s/rt", path);
	setenv("WARM_RUNTIME_DIR", own, 1);
	assert_int_equal(runtime_dir_find(&dir, &err), 0);
	assert_string_equal(dir.path, own);
	assert_false(dir.exists);
	mkdir(own, 0700);
	assert_int_equal(runtime_dir_find(&dir, &err), 0);
	assert_true(dir.exists);
	assert_int_equal(client_connect(&dir, 100, &err), -ENOENT);
	assert_int_equal(runtime_dir_path(&dir, "s", path_in, strlen(own) + 3), 0);
	assert_memory_equal(path_in, own, strlen(own));
	assert_string_equal(path_in + strlen(own), "/s");
	assert_int_equal(runtime_dir_path(&dir, "s", path_in, strlen(own) + 2), -ENAMETOOLONG);
	assert_int_equal(runtime_dir_path(&dir, "s", path_in, strlen(own)), -ENAMETOOLONG);
	chmod(own, 0701);
	assert_int_equal(runtime_dir_find(&dir, &err), -EACCES);
	rmdir(own);

	unsetenv("WARM_RUNTIME_DIR");
	setenv("XDG_RUNTIME_DIR", path, 1);
	assert_int_equal(runtime_dir_find(&dir, &err), 0);
	assert_memory_equal(dir.path, path, strlen(path));
	assert_string_equal(dir.path + strlen(path), "/warm");
	setenv("XDG_RUNTIME_DIR", "relative", 1);
	/* falls to /tmp/warm-$UID, which may or may not be there */
	(void)runtime_dir_find(&dir, NULL);
	assert_memory_equal(dir.path, "/tmp/warm-", 10);
	assert_int_equal(strtoul(dir.path + 10, NULL, 10), geteuid());
	rmdir(path);
}

/* one packet with @nfds descriptors into a socket pair. Return: what client_receive() says */
static ssize_t receive_one(const void *data, size_t len, unsigned int nfds, struct client_fds *fds,
			   struct error *err)
{
	union {
		char space[CMSG_SPACE(sizeof(int) * 8)];
		struct cmsghdr align;
	} control = { 0 };
	struct iovec part = { (void *)data, len };
	struct msghdr msg = { .msg_iov = &part, .msg_iovlen = 1 };
	struct wire_header buf[4];
	int pair[2];
	ssize_t n;

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	if (nfds > 0) {
		struct cmsghdr *c = (void *)control.space;

		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		for (unsigned int i = 0; i < nfds; i++)
			memcpy(CMSG_DATA(c) + i * sizeof(int), &pair[0], sizeof(int));
	}
	if (len > 0)
		assert_int_equal(sendmsg(pair[0], &msg, 0), len);
	n = client_receive(pair[1], buf, sizeof(buf), WIRE_CONTROL_REPLY, 50, fds, err);
	close(pair[0]);
	close(pair[1]);
	return n;
}

static void test_receive(void **state)
{
	struct wire_header h = { WIRE_MAGIC, WIRE_VERSION_NUMBER, WIRE_CONTROL_REPLY, sizeof(h), 0 };
	struct wire_header more[5] = { h };
	struct client_fds fds;
	struct error err;
	int free_fd = dup(0);

	(void)state;
	close(free_fd);
	assert_int_equal(receive_one(&h, sizeof(h), 0, NULL, &err), sizeof(h));
	assert_int_equal(receive_one(&h, sizeof(h), 2, &fds, &err), sizeof(h));
	assert_int_equal(fds.count, 2);
	assert_true(fcntl(fds.fd[1], F_GETFD) & FD_CLOEXEC);
	close(fds.fd[0]);
	close(fds.fd[1]);
	assert_int_equal(receive_one(&h, sizeof(h), 2, NULL, &err), -EBADMSG);
	assert_int_equal(receive_one(NULL, 0, 0, NULL, &err), -ETIMEDOUT);
	assert_int_equal(receive_one(&h, sizeof(h) - 1, 3, &fds, &err), -EBADMSG);
	more[0].size = sizeof(more);
	assert_int_equal(receive_one(more, sizeof(more), 1, &fds, &err), -EBADMSG);
	h.size++;
	assert_int_equal(receive_one(&h, sizeof(h), 1, &fds, &err), -EBADMSG);
	h.size--;
	h.type = WIRE_RUN_REPLY;
	assert_int_equal(receive_one(&h, sizeof(h), 0, NULL, &err), -EBADMSG);
	h.version = WIRE_VERSION_NUMBER + 1;
	assert_int_equal(receive_one(&h, sizeof(h), 0, NULL, &err), -EPROTONOSUPPORT);
	h.magic = 0;
	assert_int_equal(receive_one(&h, sizeof(h), 0, NULL, &err), -EBADMSG);
	/* nothing was left open by any refusal */
	assert_int_equal(dup(0), free_fd);
	close(free_fd);
}

static void test_receive_run(void **state)
{
	struct wire_run_reply reply = {
		.header = { WIRE_MAGIC, WIRE_VERSION_NUMBER, WIRE_RUN_REPLY, sizeof(reply), 0 },
		.status = WIRE_COLD_REFUSED,
	}, got;
	struct error err;
	int pair[2];

	(void)state;
	memset(reply.reason, 'x', sizeof(reply.reason));
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(send(pair[0], &reply, sizeof(reply), 0), sizeof(reply));
	assert_int_equal(client_receive_run(pair[1], &got, 50, NULL, &err), 0);
	assert_int_equal(strlen(got.reason), sizeof(got.reason) - 1);
	/* descriptors with a cold answer, and promised ones that do not come */
	reply.nfds = 1;
	assert_int_equal(send(pair[0], &reply, sizeof(reply), 0), sizeof(reply));
	assert_int_equal(client_receive_run(pair[1], &got, 50, NULL, &err), -EBADMSG);
	reply.status = WIRE_WARM;
	assert_int_equal(send(pair[0], &reply, sizeof(reply), 0), sizeof(reply));
	assert_int_equal(client_receive_run(pair[1], &got, 50, NULL, &err), -ETIMEDOUT);
	close(pair[0]);
	assert_int_equal(client_receive_run(pair[1], &got, 50, NULL, &err), -ECONNRESET);
	close(pair[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_formats),	      cmocka_unit_test(test_command_line),
		cmocka_unit_test(test_table),	      cmocka_unit_test(test_options),
		cmocka_unit_test(test_json),	      cmocka_unit_test(test_status_names),
		cmocka_unit_test(test_memory),	      cmocka_unit_test(test_context),
		cmocka_unit_test(test_context_sizes), cmocka_unit_test(test_runtime_dir),
		cmocka_unit_test(test_receive),	      cmocka_unit_test(test_receive_run),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
