/* SPDX-License-Identifier: MIT */
/* What warmd tells Prometheus: the text, and the heads of HTTP requests. The socket is tests/e2e/test_ps_stats.py's part. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "engine/base/clock.h"
#include "engine/base/fd.h"
#include "warmd/metrics_http.h"
#include "warmd/metrics_text.h"
#include "warmd/pool/pool.h"
#include "warmd/server.h"

/* --- text ------------------------------------------------------------------------------ */

static void expect_label(const char *text, const char *escaped)
{
	_cleanup_free_ char *got = NULL;
	size_t size;
	FILE *out = open_memstream(&got, &size);

	metrics_label(out, text);
	fclose(out);
	assert_string_equal(got, escaped);
}

static void test_label(void **state)
{
	(void)state;
	expect_label("", "");
	expect_label("python3 report.py", "python3 report.py");
	expect_label("a\"b\\c\nd", "a\\\"b\\\\c\\nd");
	expect_label("{x=\"y\"} 1\n# HELP", "{x=\\\"y\\\"} 1\\n# HELP");
	expect_label("tab\tand \r stay", "tab\tand \r stay");
	expect_label("\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80");
	/* a lone byte, an overlong '"', a surrogate, a cut sequence before a quote */
	expect_label("\xff", "\xef\xbf\xbd");
	expect_label("\xc0\xa2", "\xef\xbf\xbd\xef\xbf\xbd");
	expect_label("\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
	expect_label("\xe2\x82\"", "\xef\xbf\xbd\xef\xbf\xbd\\\"");
}

static void test_statm(void **state)
{
	struct metrics_memory m;

	(void)state;
	assert_true(metrics_statm("4000 300 100 5 0 77 0\n", 4096, &m));
	assert_true(m.private_bytes == 200 * 4096 && m.mapped_bytes == 100 * 4096);
	assert_true(metrics_statm("1 0 0 0 0 0 0\n", 65536, &m));
	assert_true(m.private_bytes == 0 && m.mapped_bytes == 0);
	assert_false(metrics_statm("", 4096, &m));
	assert_false(metrics_statm("4000 300", 4096, &m));
	assert_false(metrics_statm("4000 100 300 5 0 77 0\n", 4096, &m));
}

/* one line of the exposition format: a name, labels, a number. Return: the name's length, 0: it is none */
static size_t sample(const char *line)
{
	size_t name = strspn(line, "abcdefghijklmnopqrstuvwxyz_"), at = name;
	char *end;

	if (line[at] == '{') {
		do {
			at++;
			at += strspn(line + at, "abcdefghijklmnopqrstuvwxyz");
			if (strncmp(line + at, "=\"", 2) != 0)
				return 0;
			for (at += 2; line[at] && line[at] != '"'; at++)
				at += line[at] == '\\';
			if (line[at++] != '"')
				return 0;
		} while (line[at] == ',');
		if (line[at++] != '}')
			return 0;
	}
	if (line[at] != ' ')
		return 0;
	strtod(line + at + 1, &end);
	return *end == '\0' ? name : 0;
}

static bool of_family(const char *line, size_t name, const char *family)
{
	size_t len = strlen(family);

	return strncmp(line, family, len) == 0 &&
	       (name == len || (name == len + 4 && strncmp(line + len, "_sum", 4) == 0) ||
		(name == len + 6 && strncmp(line + len, "_count", 6) == 0));
}

/* HELP, TYPE, samples of that family; each family once */
static void check_text(char *text)
{
	char family[128] = "", seen[8192] = "", type[16], key[130], *rest = NULL;

	for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
		if (strncmp(line, "# HELP ", 7) == 0) {
			assert_int_equal(sscanf(line, "# HELP %127s", family), 1);
			snprintf(key, sizeof(key), " %s ", family);
			assert_null(strstr(seen, key));
			strcat(strcat(seen, key), " ");
			line = strtok_r(NULL, "\n", &rest);
			assert_int_equal(sscanf(line, "# TYPE %127s %15s", key, type), 2);
			assert_string_equal(key, family);
			assert_true(strcmp(type, "counter") == 0 || strcmp(type, "gauge") == 0 ||
				    strcmp(type, "summary") == 0);
			assert_true((strcmp(type, "counter") == 0) ==
				    (strcmp(family + strlen(family) - 6, "_total") == 0));
			continue;
		}
		if (!sample(line) || !of_family(line, sample(line), family))
			fail_msg("of %s: %s", family, line);
	}
}

static void test_text(void **state)
{
	static char label[] = "a \"name\"\nwith \\ all";
	struct metrics_memory memory[] = {
		{ .template_id = 7, .measured = true, .private_bytes = 4096, .mapped_bytes = 8192 },
		{ .template_id = 7, .private_bytes = 1 }, /* had ended */
		{ .template_id = 7, .measured = true, .private_bytes = 4096, .mapped_bytes = 8192 },
		{ .template_id = 6, .measured = true, .private_bytes = 1 }, /* its template is gone */
	};
	Warm__BuildResult result = WARM__BUILD_RESULT__INIT;
	struct template t = { .id = 7, .label = label, .result = &result, .launches = 3 };
	struct pool p = { .template = &t, .hits = 2, .misses = 1, .want = 4 };
	struct clone parked = { .id = 1, .pid = 11, .state = CLONE_PARKED };
	struct clone running = {
		.id = 2, .pid = 12, .state = CLONE_RUNNING, .label = label, .template_id = 7
	};
	struct server *s;
	struct config cfg;
	sd_event *event;
	_cleanup_free_ char *text = NULL;
	size_t size;
	FILE *out;

	(void)state;
	config_defaults(&cfg);
	assert_true(sd_event_new(&event) >= 0);
	assert_int_equal(server_new(&s, event, &cfg, socket(AF_UNIX, SOCK_SEQPACKET, 0), NULL), 0);
	s->metrics.launches[WIRE_COLD_STALE] = 5;
	s->metrics.ways[WIRE_WAY_PARKED] = 2;
	latency_add(&s->metrics.phases[METRICS_PARKED_ORDER], 1500);
	result.sealed_bytes = 12345;
	t.pool = &p;
	p.parked = &parked;
	s->pools.running = &running;
	s->store->list = &t;

	out = open_memstream(&text, &size);
	metrics_text(s, memory, ARRAY_SIZE(memory), out);
	fclose(out);
	s->pools.running = NULL;
	s->store->list = NULL;

#define NAME "{id=\"7\",template=\"a \\\"name\\\"\\nwith \\\\ all\""
	assert_non_null(strstr(text, "\nwarm_launches_total{way=\"cold\"} 5\n"));
	assert_non_null(strstr(text, "\nwarm_launches_total{way=\"parked\"} 2\n"));
	assert_non_null(strstr(text, "\nwarm_cold_launches_total{reason=\"stale\"} 5\n"));
	assert_non_null(strstr(text, "\nwarm_template_sealed_bytes" NAME "} 12345\n"));
	assert_non_null(strstr(text, "\nwarm_template_private_bytes" NAME "} 8192\n"));
	assert_non_null(strstr(text, "\nwarm_template_mapped_bytes" NAME "} 16384\n"));
	assert_non_null(strstr(text, "\nwarm_template_processes" NAME ",state=\"parked\"} 1\n"));
	assert_non_null(strstr(text, "\nwarm_template_processes" NAME ",state=\"running\"} 1\n"));
	assert_non_null(strstr(text, "\nwarm_template_processes" NAME ",state=\"skeleton\"} 0\n"));
	assert_non_null(strstr(text, "\nwarm_phase_seconds{way=\"parked\",phase=\"request_to_order\","
				     "quantile=\"0.99\"} 0.000001500\n"));
	assert_true(text[size - 1] == '\n');
	check_text(text);
	server_free(s);
	sd_event_unref(event);
}

/* --- HTTP ---------------------------------------------------------------------------------- */

static void expect_status(const char *head, int status)
{
	int body;

	assert_int_equal(http_request(head, strlen(head), &body), status);
}

static void test_http(void **state)
{
	static const char get[] = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n";
	char big[METRICS_REQUEST_MAX];
	int body;

	(void)state;
	for (size_t len = 0; len < sizeof(get) - 1; len++)
		assert_int_equal(http_request(get, len, &body), 0);
	assert_int_equal(http_request(get, sizeof(get) - 1, &body), 200);
	assert_true(body);
	expect_status("GET / HTTP/1.0\r\n\r\n", 200);
	expect_status("GET /metrics?x=1 HTTP/1.0\n\n", 200);
	expect_status("GET /metrics/ HTTP/1.1\r\n\r\n", 404);
	expect_status("GET /metricsx HTTP/1.1\r\n\r\n", 404);
	expect_status("GET ?/metrics HTTP/1.1\r\n\r\n", 404);
	expect_status("POST /metrics HTTP/1.1\r\n\r\n", 405);
	expect_status("get /metrics HTTP/1.1\r\n\r\n", 405);
	expect_status("GET /metrics HTTP/2.0\r\n\r\n", 505);
	expect_status("GET /metrics\r\n\r\n", 400);
	expect_status("GET  HTTP/1.1\r\n\r\n", 400);
	expect_status("GET /metrics HTTP/1.1 \r\n\r\n", 400);
	expect_status("GET /a b HTTP/1.1\r\n\r\n", 400);
	expect_status(" \r\n\r\n", 400);
	expect_status("\r\n\r\n", 400);
	expect_status("\n\n", 400);
	assert_int_equal(http_request("HEAD / HTTP/1.1\r\n\r\n", 19, &body), 200);
	assert_false(body);
	assert_int_equal(http_request("G\0T / HTTP/1.1\r\n\r\n", 18, &body), 405);
	memset(big, 'x', sizeof(big));
	assert_int_equal(http_request(big, sizeof(big) - 1, &body), 0);
	assert_int_equal(http_request(big, sizeof(big), &body), 431);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_label),
		cmocka_unit_test(test_statm),
		cmocka_unit_test(test_text),
		cmocka_unit_test(test_http),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
