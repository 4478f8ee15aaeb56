/* SPDX-License-Identifier: MIT */
/* words.h - what the static launcher says, and how it exits */
#ifndef WARM_LAUNCHER_WORDS_H
#define WARM_LAUNCHER_WORDS_H

#include <stdint.h>

#define EXIT_WARM	125 /* env(1), docker run: the tool itself failed */
#define EXIT_CANNOT_RUN 126
#define EXIT_NOT_FOUND	127

/** say() - "warm: abc" and a newline on standard error; any part may be NULL */
void say(const char *a, const char *b, const char *c);

/** status_word() - why a run was not warm, in words */
const char *status_word(uint32_t status);

/** exec_tool() - warm-tool, which has what need not be fast, with these arguments. Return: an exit status: it is not there */
int exec_tool(char **argv);

#endif
