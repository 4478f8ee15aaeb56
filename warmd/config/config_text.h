/* SPDX-License-Identifier: MIT */
/*
 * config_text.h - where things stand in a JSON text.
 *
 * cJSON does not keep positions. This scanner walks the members of the
 * top-level object in the order of cJSON's list, over a text that cJSON has
 * accepted: so it need not check anything, only never leave the text.
 */
#ifndef WARM_WARMD_CONFIG_CONFIG_TEXT_H
#define WARM_WARMD_CONFIG_CONFIG_TEXT_H

#include <stdbool.h>
#include <stddef.h>

struct text_scan {
	const char *text; /* NUL-terminated */
	const char *at;
};

/** text_enter() - go into the object or array at @p */
struct text_scan text_enter(const char *text, const char *p);
/** text_member() - the next member of an object. Return: false at the end */
bool text_member(struct text_scan *s, const char **ret_key, const char **ret_value);
/** text_element() - the next element of an array. Return: false at the end */
bool text_element(struct text_scan *s, const char **ret_value);
/** text_line(), text_column() - of a place in the text, from 1; columns in bytes */
unsigned int text_line(const char *text, const char *p);
unsigned int text_column(const char *text, const char *p);
/** text_distance() - how many letters to change, add, drop or swap to get from @a to @b */
unsigned int text_distance(const char *a, const char *b);

#endif
