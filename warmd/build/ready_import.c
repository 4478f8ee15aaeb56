/* SPDX-License-Identifier: MIT */
/* ready_import.c - the readiness points `import` and `auto`: in the program's own leading part, by an adaptor that is put into its runtime */
#include <errno.h>

#include "warmd/build/builder_internal.h"
#include "warmd/build/observe.h"

/* Return: 1: the program is one of a language, and will be stopped for its adaptor; 0: it is none; a negative errno */
static int enter_language(struct builder *b, bool asked, struct error *err)
{
	int r = language_detect(b, asked, err);

	if (r <= 0)
		return r;
	r = b->language->module_names ? observe_module_names(b->observe, b->language->module_names) : 0;
	if (r < 0)
		return error_errno(err, r, "noting the names of modules");
	r = b->language->enter(b, err);
	return r < 0 ? r : 1;
}

static int import_entry(struct builder *b, struct error *err)
{
	char needs[512];
	int r = enter_language(b, true, err);

	if (r == 0)
		r = ready_pass_through(b, err);
	if (r)
		return r < 0 ? r : 0;
	language_needs(b->req->argv[0], needs, sizeof(needs));
	return error_set(err, EOPNOTSUPP, "readiness point 'import' needs %s", needs);
}

static int auto_entry(struct builder *b, struct error *err)
{
	int r = enter_language(b, false, err);

	return r < 0 ? r : r ? 0 : ready_main_entry(b, err);
}

static const struct ready_point *by_adaptor(const struct builder *b)
{
	return b->adaptor_used ? &ready_import : &ready_main;
}

const struct ready_point ready_auto = { .word = "auto", .at_entry = auto_entry, .in_use = by_adaptor };
const struct ready_point ready_import = { .word = "import", .at_entry = import_entry, .in_use = by_adaptor };
