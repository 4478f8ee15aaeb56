/* SPDX-License-Identifier: MIT */
/* words.h - the words that answers of warmd and `warm` itself use for states and ways; each stands in words.c alone */
#ifndef WARM_LAUNCHER_WIRE_WORDS_H
#define WARM_LAUNCHER_WIRE_WORDS_H

#include <stdbool.h>
#include <stdint.h>

/* of a process that warmd has: Clone.state of control.proto */
enum wire_clone_state {
	WIRE_CLONE_RUNNING,
	WIRE_CLONE_PARKED,
	WIRE_CLONE_MAKING,
	WIRE_CLONE_SKELETON,
	WIRE_CLONE_STATES
};
const char *wire_clone_state_name(enum wire_clone_state state);
/** wire_clone_state_of() - the state that a word means; WIRE_CLONE_STATES: none that is known here */
enum wire_clone_state wire_clone_state_of(const char *word);

/** wire_way_name() - @way: enum wire_way. Return: "unknown" for one that is not known here */
const char *wire_way_name(uint32_t way);

/* of a template: Template.state of control.proto */
enum wire_template_state {
	WIRE_TEMPLATE_READY,
	WIRE_TEMPLATE_REFUSED,
	WIRE_TEMPLATE_WAITS,
	WIRE_TEMPLATE_STATES
};
const char *wire_template_state_name(enum wire_template_state state);

#endif
