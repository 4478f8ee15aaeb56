/* SPDX-License-Identifier: MIT */
#include "pty/sent.h"

#include <string.h>

static void drop_oldest(struct sent *s)
{
	size_t n = s->writes[0].n;

	memmove(s->bytes, s->bytes + n, s->n - n);
	s->n -= n;
	s->nwrites--;
	memmove(s->writes, s->writes + 1, s->nwrites * sizeof(s->writes[0]));
}

void sent_note(struct sent *s, uint64_t at, const uint8_t *p, size_t n)
{
	/* a terminal's queue has no room for more, so what came first of it was read */
	if (n > SENT_BYTES) {
		p += n - SENT_BYTES;
		n = SENT_BYTES;
	}
	while (s->nwrites && (s->nwrites == SENT_WRITES || s->n + n > SENT_BYTES))
		drop_oldest(s);
	memcpy(s->bytes + s->n, p, n);
	s->n += n;
	s->writes[s->nwrites].at = at;
	s->writes[s->nwrites].n = n;
	s->nwrites++;
}

size_t sent_since(const struct sent *s, uint64_t at, const uint8_t **ret)
{
	size_t n = 0;

	for (size_t i = s->nwrites; i > 0 && s->writes[i - 1].at >= at; i--)
		n += s->writes[i - 1].n;
	*ret = s->bytes + s->n - n;
	return n;
}
