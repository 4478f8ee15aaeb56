/* SPDX-License-Identifier: MIT */
/* language_python.h - Python's entry in the table of languages, and the text that is put into the interpreter */
#ifndef WARM_WARMD_BUILD_LANGUAGE_PYTHON_H
#define WARM_WARMD_BUILD_LANGUAGE_PYTHON_H

#include "warmd/build/language.h"

extern const struct language language_python;

/**
 * language_python_code() - the string for PyRun_SimpleString()
 * @warm_fd: the program's descriptor of the readiness protocol
 * @argv: the process's arguments, @argc of them
 * Return: malloc'd; NULL: no memory
 */
char *language_python_code(int warm_fd, char *const *argv, size_t argc);

#endif
