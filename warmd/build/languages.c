/* SPDX-License-Identifier: MIT */
/* languages.c - the languages that there are; nothing else is in this file, so that a test can be linked with a table of its own */
#include "warmd/build/language_python.h"

const struct language *const languages[] = { &language_python, NULL };
