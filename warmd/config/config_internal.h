/* SPDX-License-Identifier: MIT */
/* config_internal.h - between the config*.c; nobody else includes it */
#ifndef WARM_WARMD_CONFIG_CONFIG_INTERNAL_H
#define WARM_WARMD_CONFIG_CONFIG_INTERNAL_H

#include "warmd/config/config.h"

/**
 * config_parse() - take the settings of a text over the ones that are there
 * @file: the text's name, for words
 * @text: @len bytes, and a NUL behind them
 *
 * Return: 0, or -EINVAL or -ENOMEM with *err set; @cfg is to be released by config_done() either way.
 */
int config_parse(struct config *cfg, const char *file, const char *text, size_t len, struct error *err);

/** config_memory_total() - bytes of memory that the machine has */
uint64_t config_memory_total(void);

#endif
