/* SPDX-License-Identifier: MIT */
#include "launcher/wire/context_json.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/base/fd.h"

struct writer {
	int fd, error;
	size_t n;
	char buf[4096];
};

static void flush(struct writer *w)
{
	if (!w->error && w->n)
		w->error = write_full(w->fd, w->buf, w->n);
	w->n = 0;
}

static void put(struct writer *w, const char *s, size_t len)
{
	if (len > sizeof(w->buf) - w->n)
		flush(w);
	memcpy(w->buf + w->n, s, len);
	w->n += len;
}

static void put_escape(struct writer *w, unsigned int code)
{
	static const char hex[] = "0123456789abcdef";
	const char s[6] = {
		'\\', 'u', hex[code >> 12 & 15], hex[code >> 8 & 15], hex[code >> 4 & 15], hex[code & 15]
	};

	put(w, s, sizeof(s));
}

/* bytes of the valid UTF-8 sequence at @s, 0 if there is none: RFC 3629, section 4 */
static size_t sequence(const unsigned char *s)
{
	size_t n = s[0] < 0x80			 ? 1
		   : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		   : (s[0] & 0xf0) == 0xe0	 ? 3
		   : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
						 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf0 && s[1] < 0x90) ||
	    (s[0] == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void put_string(struct writer *w, const char *string, size_t len)
{
	const unsigned char *s = (const unsigned char *)string, *end = s + len;

	put(w, "\"", 1);
	while (s < end) {
		size_t n = sequence(s);

		if (!n) {
			put_escape(w, 0xdc00u + *s++);
			continue;
		}
		if (*s < 0x20 || *s == '"' || *s == '\\' || *s == 0x7f)
			put_escape(w, *s);
		else
			put(w, (const char *)s, n);
		s += n;
	}
	put(w, "\"", 1);
}

/* does an entry before @entry begin with the same @len bytes, which end in '='? */
static bool named_before(char *const *envp, char *const *entry, size_t len)
{
	for (; envp < entry; envp++)
		if (strncmp(*envp, *entry, len) == 0)
			return true;
	return false;
}

/* a name is a key once: of two, the first one counts, as for getenv(3) */
static void put_environment(struct writer *w, char *const *envp)
{
	bool first = true;

	for (char *const *e = envp; *e; e++) {
		const char *equals = strchr(*e, '=');

		if (!equals || named_before(envp, e, (size_t)(equals - *e) + 1))
			continue;
		if (!first)
			put(w, ",", 1);
		first = false;
		put_string(w, *e, (size_t)(equals - *e));
		put(w, ":", 1);
		put_string(w, equals + 1, strlen(equals + 1));
	}
}

int context_json(int argc, char *const *argv, char *const *envp, const char *cwd, uint64_t generation,
		 struct error *err)
{
	static struct writer w;
	char here[4096], number[40];

	w.n = 0;
	w.error = 0;
	w.fd = memfd_create("warm-context", MFD_CLOEXEC);
	if (w.fd < 0)
		return error_errno(err, errno, "making the launch context");
	put(&w, "{\"argv\":[", 9);
	for (int i = 0; i < argc; i++) {
		if (i)
			put(&w, ",", 1);
		put_string(&w, argv[i], strlen(argv[i]));
	}
	put(&w, "],\"env\":{", 9);
	put_environment(&w, envp);
	put(&w, "},\"cwd\":", 8);
	if (!cwd)
		cwd = getcwd(here, sizeof(here)) ? here : "/";
	put_string(&w, cwd, strlen(cwd));
	put(&w, number,
	    (size_t)snprintf(number, sizeof(number), ",\"generation\":%llu}\n",
			     (unsigned long long)generation));
	flush(&w);
	if (w.error || lseek(w.fd, 0, SEEK_SET) < 0) {
		close(w.fd);
		return error_errno(err, w.error ? w.error : errno, "writing the launch context");
	}
	return w.fd;
}
