/* SPDX-License-Identifier: MIT */
/* array.h - arrays that grow */
#ifndef WARM_ENGINE_BASE_ARRAY_H
#define WARM_ENGINE_BASE_ARRAY_H

#include <stddef.h>

/**
 * array_reserve() - make room behind the end of an array
 * @array: address of the pointer to the first item, which is NULL as long as there are none. It may move
 * @n: items that the array has; only array_reserve() has ever made room for them
 * @more: items that are to be added
 * @size: bytes of an item
 *
 * The room follows from @n (the next power of two, ARRAY_FIRST at least), so it is stored nowhere, and adding items one by
 * one copies each of them twice on average. What is new is not initialised. The caller frees the array with free(3).
 *
 * Return: 0, or -ENOMEM with the array as it was
 */
int array_reserve(void *array, size_t n, size_t more, size_t size);

/**
 * array_append() - one more item, of zeros, at the end
 * @n: counts the items; one more on success
 * Return: the new item, or NULL when there is no memory
 */
void *array_append(void *array, size_t *n, size_t size);

#define ARRAY_FIRST 8

#endif
