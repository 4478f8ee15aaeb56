/* SPDX-License-Identifier: MIT */
/*
 * hot.h - the pages that clones of a template write: learned from the first ones, made ahead in the others.
 *
 * HOT_SAMPLES clones of each kind (enum wire_learn_kind) tell at their exit (engine/stub/learn.c). What all of one
 * kind wrote goes into the control file, of which the template gets a new copy, because the old one is sealed.
 * Who launches with an environment of its own may begin with a launch without.
 */
#ifndef WARM_WARMD_POOL_HOT_H
#define WARM_WARMD_POOL_HOT_H

#include <stddef.h>
#include <stdint.h>

#include "launcher/wire/protocol.h"
#include "warmd/template/template.h"

#define HOT_SAMPLES   3
#define HOT_BYTES_MAX (8u << 20) /* more is the program's business: making it ahead would delay its start */

struct hot;
struct store;

void hot_free(struct hot *h);

/** hot_wanted() - shall the next clone of @t tell? Return: bit n: one of enum wire_learn_kind n shall */
uint32_t hot_wanted(const struct template *t);

/**
 * hot_take() - a WIRE_LEARN packet
 * @packet: as received, any contents: sizes, order and alignment are checked here
 * Return: 0; -EBADMSG. A template that is gone is no error.
 */
int hot_take(struct store *s, const void *packet, size_t len);

#endif
