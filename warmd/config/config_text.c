/* SPDX-License-Identifier: MIT */
#include "warmd/config/config_text.h"

#include <string.h>

/* cJSON takes every control character for white space, and a byte order mark at the start */
static const char *skip_space(const char *p)
{
	while (*p && (unsigned char)*p <= ' ')
		p++;
	return p;
}

static const char *skip_string(const char *p)
{
	if (*p == '"')
		p++;
	while (*p && *p != '"')
		p += p[0] == '\\' && p[1] ? 2 : 1;
	return *p ? p + 1 : p;
}

/* any value: nested ones are skipped by counting brackets outside strings */
static const char *skip_value(const char *p)
{
	size_t depth = 0;

	do {
		p = skip_space(p);
		if (*p == '"') {
			p = skip_string(p);
		} else if (*p == '{' || *p == '[') {
			depth++;
			p++;
		} else if (*p == '}' || *p == ']') {
			if (depth == 0)
				return p;
			depth--;
			p++;
		} else if (depth > 0 && (*p == ',' || *p == ':')) {
			p++;
		} else {
			p += strcspn(p, ",:]}[{\" \t\r\n");
		}
	} while (*p && depth > 0);
	return p;
}

struct text_scan text_enter(const char *text, const char *p)
{
	if (p == text && strncmp(p, "\xef\xbb\xbf", 3) == 0)
		p += 3;
	p = skip_space(p);
	return (struct text_scan){ .text = text, .at = *p ? p + 1 : p };
}

bool text_element(struct text_scan *s, const char **ret_value)
{
	const char *p = skip_space(s->at);

	if (*p == ',')
		p = skip_space(p + 1);
	if (*p == '\0' || *p == ']' || *p == '}')
		return false;
	*ret_value = p;
	s->at = skip_value(p);
	return true;
}

bool text_member(struct text_scan *s, const char **ret_key, const char **ret_value)
{
	const char *p;

	if (!text_element(s, ret_key)) /* the key is a value too */
		return false;
	p = skip_space(s->at);
	if (*p == ':')
		p = skip_space(p + 1);
	*ret_value = p;
	s->at = skip_value(p);
	return true;
}

unsigned int text_line(const char *text, const char *p)
{
	unsigned int line = 1;

	for (; text < p; text++)
		line += *text == '\n';
	return line;
}

unsigned int text_column(const char *text, const char *p)
{
	unsigned int column = 1;

	while (p > text && p[-1] != '\n') {
		p--;
		column++;
	}
	return column;
}

unsigned int text_distance(const char *a, const char *b)
{
	unsigned int rows[3][64]; /* the row before last, the last, this one */
	size_t la = strlen(a), lb = strlen(b);

	if (la > 60 || lb > 60)
		return 60;
	for (size_t j = 0; j <= lb; j++)
		rows[1][j] = (unsigned int)j;
	for (size_t i = 1; i <= la; i++) {
		rows[2][0] = (unsigned int)i;
		for (size_t j = 1; j <= lb; j++) {
			unsigned int best = rows[1][j - 1] + (a[i - 1] != b[j - 1]);

			if (rows[1][j] + 1 < best)
				best = rows[1][j] + 1;
			if (rows[2][j - 1] + 1 < best)
				best = rows[2][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
			    rows[0][j - 2] + 1 < best)
				best = rows[0][j - 2] + 1;
			rows[2][j] = best;
		}
		memcpy(rows[0], rows[1], sizeof(rows[0]));
		memcpy(rows[1], rows[2], sizeof(rows[1]));
	}
	return rows[1][lb];
}
