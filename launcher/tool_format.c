/* SPDX-License-Identifier: MIT */
#include "launcher/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "engine/base/array.h"
#include "engine/base/clock.h"
#include "engine/base/fd.h"

const char *tool_age(uint64_t ns, char text[TOOL_TEXT_MAX])
{
	uint64_t s = ns / NS_PER_S;

	if (s < 60)
		snprintf(text, TOOL_TEXT_MAX, "%" PRIu64 "s", s);
	else if (s < 3600)
		snprintf(text, TOOL_TEXT_MAX, "%" PRIu64 "m", s / 60);
	else if (s < 86400)
		snprintf(text, TOOL_TEXT_MAX, "%" PRIu64 "h", s / 3600);
	else
		snprintf(text, TOOL_TEXT_MAX, "%" PRIu64 "d", s / 86400);
	return text;
}

const char *tool_since(uint64_t realtime_ns, char text[TOOL_TEXT_MAX])
{
	uint64_t now;

	if (realtime_ns == 0) {
		strcpy(text, "-");
		return text;
	}
	now = clock_ns(CLOCK_REALTIME);
	return tool_age(now > realtime_ns ? now - realtime_ns : 0, text);
}

const char *tool_bytes(uint64_t bytes, char text[TOOL_TEXT_MAX])
{
	static const char units[] = "KMGTPE";
	double value = (double)bytes;
	int unit = -1;

	/* 1023.95 would be shown as 1024.0 */
	while (value >= (unit < 0 ? 1024 : 1023.95) && units[unit + 1] != '\0') {
		value /= 1024;
		unit++;
	}
	if (unit < 0)
		snprintf(text, TOOL_TEXT_MAX, "%" PRIu64 "B", bytes);
	else
		snprintf(text, TOOL_TEXT_MAX, "%.1f%c", value, units[unit]);
	return text;
}

const char *tool_duration(uint64_t ns, char text[TOOL_TEXT_MAX])
{
	if (ns < 1000)
		snprintf(text, TOOL_TEXT_MAX, "%" PRIu64 "ns", ns);
	else if (ns < 999950)
		snprintf(text, TOOL_TEXT_MAX, "%.1fus", (double)ns / 1e3);
	else if (ns < 999950000)
		snprintf(text, TOOL_TEXT_MAX, "%.1fms", (double)ns / 1e6);
	else
		snprintf(text, TOOL_TEXT_MAX, "%.1fs", (double)ns / 1e9);
	return text;
}

const char *tool_number(uint64_t number, char text[TOOL_TEXT_MAX])
{
	snprintf(text, TOOL_TEXT_MAX, "%" PRIu64, number);
	return text;
}

static int plain(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
	       strchr("_-./:=+,@%^", c) || (unsigned char)c >= 0x80;
}

static void put_quoted(FILE *out, const char *word)
{
	const char *p = word;

	while (*p && plain(*p))
		p++;
	if (*p == '\0' && p != word) {
		fputs(word, out);
		return;
	}
	fputc('\'', out);
	for (p = word; *p; p++) {
		if (*p == '\'')
			fputs("'\\''", out);
		else
			fputc(*p, out);
	}
	fputc('\'', out);
}

char *tool_command_line(size_t n, char *const *words)
{
	char *line = NULL;
	size_t size;
	FILE *out = open_memstream(&line, &size);

	if (!out)
		return NULL;
	for (size_t i = 0; i < n; i++) {
		if (i > 0)
			fputc(' ', out);
		put_quoted(out, words[i]);
	}
	if (fclose(out) != 0) {
		free(line);
		return NULL;
	}
	return line;
}

static int control_character(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

void tool_print_safe(FILE *out, const char *text)
{
	for (; *text; text++)
		fputc(control_character((unsigned char)*text) ? '?' : *text, out);
}

int tool_table_row(struct tool_table *table, ...)
{
	va_list ap;
	int r = 0;

	if (array_reserve(&table->cells, table->rows * table->columns, table->columns, sizeof(char *)) < 0)
		return -ENOMEM;
	va_start(ap, table);
	for (unsigned int i = 0; i < table->columns; i++) {
		char *cell = strdup(va_arg(ap, const char *));

		if (!cell)
			r = -ENOMEM;
		table->cells[table->rows * table->columns + i] = cell;
	}
	va_end(ap);
	table->rows++;
	return r;
}

static const char *cell_text(const struct tool_table *table, size_t row, unsigned int column)
{
	const char *cell = table->cells[row * table->columns + column];

	return cell ? cell : "?";
}

/* characters, counting UTF-8 sequences as one */
static size_t characters(const char *text)
{
	size_t n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

/* at most @max characters of @text */
static void print_cut(FILE *out, const char *text, size_t max)
{
	size_t n = 0;

	for (; *text; text++) {
		if (((unsigned char)*text & 0xc0) != 0x80 && n++ == max)
			return;
		fputc(control_character((unsigned char)*text) ? '?' : *text, out);
	}
}

void tool_table_print(const struct tool_table *table, FILE *out, unsigned int width)
{
	size_t widths[TOOL_TABLE_COLUMNS] = { 0 };

	for (size_t row = 0; row < table->rows; row++) {
		for (unsigned int i = 0; i < table->columns; i++) {
			size_t n = characters(cell_text(table, row, i));

			widths[i] = n > widths[i] ? n : widths[i];
		}
	}
	for (size_t row = 0; row < table->rows; row++) {
		size_t used = 0;

		for (unsigned int i = 0; i < table->columns; i++) {
			const char *cell = cell_text(table, row, i);
			int pad = (int)(widths[i] - characters(cell));
			bool last = i + 1 == table->columns, right = table->right >> i & 1;

			if (right)
				fprintf(out, "%*s", pad, "");
			if (last && !right)
				print_cut(out, cell, width > used + 8 ? width - used : SIZE_MAX);
			else
				tool_print_safe(out, cell);
			if (!right && !last)
				fprintf(out, "%*s", pad, "");
			fputs(last ? "\n" : "  ", out);
			used += widths[i] + 2;
		}
	}
}

int tool_table_finish(const struct tool_table *table, int r, unsigned int width)
{
	if (r < 0) {
		fputs("warm: out of memory\n", stderr);
		return TOOL_FAILED;
	}
	tool_table_print(table, stdout, width);
	return tool_finish();
}

void tool_table_free(struct tool_table *table)
{
	for (size_t i = 0; i < table->rows * table->columns; i++)
		free(table->cells[i]);
	free(table->cells);
	table->cells = NULL;
	table->rows = 0;
}

unsigned int tool_width(int fd)
{
	struct winsize size;

	return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}
