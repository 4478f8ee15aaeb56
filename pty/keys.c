/* SPDX-License-Identifier: MIT */
#include "pty/keys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* how long a beginning of the keys there is when @c follows @held bytes of one */
static size_t step(const struct keys *k, size_t held, uint8_t c)
{
	while (held && k->bytes[held] != c)
		held = k->back[held - 1];
	return k->bytes[held] == c ? held + 1 : 0;
}

int keys_set(struct keys *k, const void *bytes, size_t n)
{
	if (n > RELAY_KEYS_MAX)
		return -EINVAL;
	*k = (struct keys){ .n = n };
	if (n)
		memcpy(k->bytes, bytes, n);
	for (size_t i = 1; i < n; i++)
		k->back[i] = (uint8_t)step(k, k->back[i - 1], k->bytes[i]);
	return 0;
}

bool keys_feed(struct keys *k, const uint8_t *buf, size_t n, size_t *ret_end)
{
	const uint8_t *p = buf, *end = buf + n;

	while (k->n && p < end) {
		/* what most typing and every paste is: no such byte in it */
		if (!k->held) {
			p = memchr(p, k->bytes[0], (size_t)(end - p));
			if (!p)
				break;
		}
		k->held = step(k, k->held, *p++);
		if (k->held == k->n) {
			*ret_end = (size_t)(p - buf);
			return true;
		}
	}
	return false;
}

/* one of docker's words; @n: its length. Return: its byte; -1: no such word */
static int parse_word(const char *word, size_t n)
{
	if (n == 1)
		return (unsigned char)word[0];
	if (n != 6 || strncmp(word, "ctrl-", 5) != 0)
		return -1;
	if ((word[5] >= 'a' && word[5] <= 'z') || (word[5] >= 'A' && word[5] <= 'Z') ||
	    (word[5] != '\0' && strchr("@[\\]^_", word[5])))
		return word[5] & 0x1f;
	return -1;
}

int relay_parse_keys(const char *text, char *out, size_t size, struct error *err)
{
	char keys[RELAY_KEYS_MAX + 1];
	size_t n = 0;

	for (const char *word = text; *text; word += strcspn(word, ",") + 1) {
		size_t len = strcspn(word, ",");
		int c = parse_word(word, len);

		if (c < 0)
			return error_set(err, EINVAL,
					 "detach keys '%s': '%.*s' is neither one character nor ctrl- with a "
					 "letter or one of @ [ \\ ] ^ _",
					 text, (int)len, word);
		if (c == 0)
			return error_set(err, EINVAL, "detach keys '%s': ctrl-@ (NUL) cannot be one of them",
					 text);
		if (n == RELAY_KEYS_MAX || n + 1 >= size)
			return error_set(err, EINVAL, "detach keys '%s': more than %d", text, RELAY_KEYS_MAX);
		keys[n++] = (char)c;
		if (!word[len])
			break;
		if (!word[len + 1])
			return error_set(err, EINVAL, "detach keys '%s': nothing behind the last comma",
					 text);
	}
	if (size == 0)
		return error_set(err, EINVAL, "no room for detach keys");
	memcpy(out, keys, n);
	out[n] = '\0';
	return 0;
}
