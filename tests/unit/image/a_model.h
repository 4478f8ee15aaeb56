/* SPDX-License-Identifier: MIT */
/* a_model.h - a model that has everything: each kind of memory, of descriptor, of process; and comparing two */
#ifndef WARM_TESTS_A_MODEL_H
#define WARM_TESTS_A_MODEL_H

#include "snapshot/model/model.h"

#define A_MODEL_PAGES 8 /* pages that its page file has at least */

/** a_model() - it passes model_check(). What its entry points to is a_model.c's */
struct model *a_model(void);

/** same_model() - fails the test at the first field that differs. Bytes behind pointers are compared too */
void same_model(const struct model *a, const struct model *b);

#endif
