/* SPDX-License-Identifier: MIT */
#include "launcher/wire/words.h"

#include <string.h>

#include "launcher/wire/protocol.h"

static const char *const clone_states[WIRE_CLONE_STATES] = {
	[WIRE_CLONE_RUNNING] = "running",
	[WIRE_CLONE_PARKED] = "parked",
	[WIRE_CLONE_MAKING] = "making",
	[WIRE_CLONE_SKELETON] = "skeleton",
};

static const char *const ways[WIRE_WAY_COUNT] = {
	[WIRE_WAY_BECOME] = "become",
	[WIRE_WAY_FORK] = "fork",
	[WIRE_WAY_PARKED] = "parked",
};

static const char *const template_states[WIRE_TEMPLATE_STATES] = {
	[WIRE_TEMPLATE_READY] = "ready",
	[WIRE_TEMPLATE_REFUSED] = "refused",
	[WIRE_TEMPLATE_WAITS] = "waits",
};

const char *wire_clone_state_name(enum wire_clone_state state)
{
	return clone_states[state];
}

enum wire_clone_state wire_clone_state_of(const char *word)
{
	enum wire_clone_state i = 0;

	while (i < WIRE_CLONE_STATES && strcmp(clone_states[i], word) != 0)
		i++;
	return i;
}

const char *wire_way_name(uint32_t way)
{
	return way < WIRE_WAY_COUNT ? ways[way] : "unknown";
}

const char *wire_template_state_name(enum wire_template_state state)
{
	return template_states[state];
}
