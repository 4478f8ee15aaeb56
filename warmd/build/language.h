/* SPDX-License-Identifier: MIT */
/*
 * language.h - what warm knows of a language's runtime, in one table.
 *
 * In: a program at its first instruction, its symbols known. Out: is its runtime one that an adaptor can be put into, and
 * the steps by which it is put in, and by which it is called in the middle of the program. The observer asks which files
 * are a runtime's bytecode, the dependency set which names in a directory can be modules. Nothing but language_*.c and
 * lang/ knows any runtime.
 *
 * A new language is two things:
 *
 *   lang/NAME/            the adaptor, which speaks the protocol of docs/adaptor.md, and its sources.mk
 *   language_NAME.c       its struct language
 *
 * and a line each in languages.c (the table) and in the Makefile (the adaptor's text as a blob). A launch needs nothing
 * more: what counts in it is told by the adaptor's lines, and by the facts of BuildResult that builder_fill_facts() makes of both.
 */
#ifndef WARM_WARMD_BUILD_LANGUAGE_H
#define WARM_WARMD_BUILD_LANGUAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "engine/base/error.h"

struct builder;
struct tracee;

struct language {
	const char *title; /* in messages: "Python" */
	/* words for a program that `--ready import` cannot be used with: "needs CPython 3.9 or newer (no Py_RunMain in PROG)" */
	const char *needs, *lacks;
	const char *module_names; /* of dep_set_module_names(); NULL: every name in a directory counts */
	bool streams_at_start; /* the runtime makes its standard streams before any program: whether they are closed counts */
	/** is_cache() - is @path a place of cached bytecode, or in one? What is missing there says nothing of the program. NULL: there is none */
	bool (*is_cache)(const char *path);
	/**
	 * makes_cache() - is a new @path the runtime's own bytecode, or (@directory) the place for it? The call that would make
	 * it is denied in a build: the runtime goes on without. NULL: it makes none
	 */
	bool (*makes_cache)(const char *path, bool directory);
	/** is_launcher() - is it by @argument that a shell script finds the runtime, to execute it (pyenv's shims)? NULL: there are no such */
	bool (*is_launcher)(const char *argument);
	/**
	 * detect() - at the first instruction of an executed program: is it this language's runtime, of a version that the adaptor knows?
	 * @asked: the user says so (--ready import); without it a program that only embeds the runtime is none
	 * Return: 1: it is, and @b->language_data, malloc'd, holds what enter() and leave() need; 0: it is not; a negative errno
	 */
	int (*detect)(struct builder *b, bool asked, struct error *err);
	/**
	 * enter() - after detect(): have the program stopped on its way, and the adaptor put in (builder_go_to())
	 *
	 * The last of its steps calls builder_entered(). Return: 0 or a negative errno
	 */
	int (*enter)(struct builder *b, struct error *err);
	/**
	 * leave() - thread @t, in whose process the adaptor is, is at a boundary: call the adaptor where it stands, to end the leading part
	 *
	 * It fills @b->leave, the way back for clones, and ends in the adaptor's read of the readiness descriptor.
	 * Return: 0; -EOPNOTSUPP, with words, where that cannot be; another negative errno
	 */
	int (*leave)(struct builder *b, struct tracee *t, struct error *err);
};

/* the table, NULL behind its last entry; languages.c */
extern const struct language *const languages[];

/** language_detect() - struct language.detect of each. Return: 1: @b->language is set; 0: none; a negative errno */
int language_detect(struct builder *b, bool asked, struct error *err);
/** language_is_cache(), language_makes_cache(), language_is_launcher() - of any language */
bool language_is_cache(const char *path);
bool language_makes_cache(const char *path, bool directory);
bool language_is_launcher(const char *argument);
/** language_needs() - what a program needs to be one of a language: "CPython 3.9 or newer (no Py_RunMain in PROG)", joined by "or" */
void language_needs(const char *program, char *buf, size_t size);

#endif
