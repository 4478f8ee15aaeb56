/* SPDX-License-Identifier: MIT */
/*
 * match.h - does a template serve a launch: everything that the program took in while it was built must be the same now.
 * Files are not looked at here; they are watched (warmd/stale/watch.h).
 */
#ifndef WARM_WARMD_TEMPLATE_MATCH_H
#define WARM_WARMD_TEMPLATE_MATCH_H

#include "warmd/template/template.h"

/** template_mismatch() - why @t does not serve @req. Return: false when it does; words in @reason */
bool template_mismatch(const struct template *t, const struct request *req, const struct config *config,
		       char *reason, size_t size);
/** template_looked_at_differs() - umask, affinity, limits, size of the terminal, as far as they count. Return: as above */
bool template_looked_at_differs(const struct template *t, const struct request *req, char *reason,
				size_t size);
/**
 * template_environment_differs() - of a variable that counts
 * @listed_only: only those that were seen to be read, where it is not known whether all were
 * Return: false: of none; words in @reason
 */
bool template_environment_differs(const struct template *t, const struct request *req,
				  const struct config *config, bool listed_only, char *reason, size_t size);
/** template_variable_counts() - NAME=...: is it compared by template_environment_differs()? */
bool template_variable_counts(const struct template *t, const char *setting, const struct config *config,
			      bool listed_only);
/** template_signals_counting() - a bit each: is it looked at by template_looked_at_differs() whether they are ignored? */
uint64_t template_signals_counting(const struct template *t, const struct request *req);
/** template_descriptors_counting() - @ret: a bit each of 0..255: does template_descriptors_clash() ask whether the caller has it open? */
void template_descriptors_counting(const struct template *t, uint64_t ret[4]);
/** template_stream_counts() - of a launch by name: does it count whether standard descriptor @fd is closed? */
bool template_stream_counts(const struct template *t, int fd);
/** template_asks_for_context() - is a clone told all of its launch, at the readiness point `call`? */
bool template_asks_for_context(const struct template *t);
/** template_fact_differs() - a fact of the machine that the program asked for is another now. Return: what, or NULL */
const char *template_fact_differs(const struct template *t);
/** template_variable_counts_always() - NAME=... of the C library's and the dynamic linker's own, whom nobody sees read it */
bool template_variable_counts_always(const char *setting);
/** template_read_arguments() - did it read what its arguments are, so that a clone can have no others? Else argv_count says how many count */
bool template_read_arguments(const struct template *t);
/** template_arguments_differ() - of a launch by name: from those that the program was seen to read. Others it takes at its readiness point. Return: as above */
bool template_arguments_differ(const struct template *t, const struct request *req, char *reason,
			       size_t size);
/** template_descriptors_clash() - does the caller have one of a number that the program uses? Return: as above */
bool template_descriptors_clash(const struct template *t, const struct request *req, char *reason,
				size_t size);
/** template_stdio_changes() - bit n: descriptor n is of another kind than in the build, or not at its start */
uint32_t template_stdio_changes(const struct template *t, const struct request *req);
/** template_same_program() - is it of the same program, so that what keeps one from being a template keeps the other? */
bool template_same_program(const struct template *t, const struct request *req);

#endif
