/* SPDX-License-Identifier: MIT */
#include "engine/base/array.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* 0: it does not fit a size_t */
static size_t room_for(size_t n)
{
	size_t room = ARRAY_FIRST;

	while (room && room < n)
		room *= 2;
	return room;
}

int array_reserve(void *array, size_t n, size_t more, size_t size)
{
	size_t bytes, room;
	void *v;

	if (more > SIZE_MAX - n)
		return -ENOMEM;
	memcpy(&v, array, sizeof(v));
	room = room_for(n + more);
	if (v && room == room_for(n))
		return 0;
	if (!room || __builtin_mul_overflow(room, size, &bytes))
		return -ENOMEM;
	v = realloc(v, bytes);
	if (!v)
		return -ENOMEM;
	memcpy(array, &v, sizeof(v));
	return 0;
}

void *array_append(void *array, size_t *n, size_t size)
{
	char *v;

	if (array_reserve(array, *n, 1, size) < 0)
		return NULL;
	memcpy(&v, array, sizeof(v));
	return memset(v + (*n)++ * size, 0, size);
}
