/* SPDX-License-Identifier: MIT */
#include "engine/base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int negative(int code)
{
	return code == 0 ? -EIO : -abs(code);
}

int error_set(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (err) {
		err->code = negative(code);
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
	}
	return negative(code);
}

int error_errno(struct error *err, int code, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	if (err) {
		err->code = negative(code);
		va_start(ap, fmt);
		vsnprintf(err->text, sizeof(err->text), fmt, ap);
		va_end(ap);
		len = strlen(err->text);
		snprintf(err->text + len, sizeof(err->text) - len, ": %s", strerror(-err->code));
	}
	return negative(code);
}

int error_prefix(struct error *err, const char *fmt, ...)
{
	char words[sizeof(err->text)];
	va_list ap;
	size_t len;

	if (!err)
		return -EIO;
	memcpy(words, err->text, sizeof(words));
	va_start(ap, fmt);
	vsnprintf(err->text, sizeof(err->text), fmt, ap);
	va_end(ap);
	len = strlen(err->text);
	snprintf(err->text + len, sizeof(err->text) - len, ": %s", words);
	return negative(err->code);
}
