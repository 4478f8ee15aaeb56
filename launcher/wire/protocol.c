/* SPDX-License-Identifier: MIT */
#include "launcher/wire/protocol.h"

static const char *const status_names[] = {
	[WIRE_WARM] = "warm",
	[WIRE_COLD_NONE] = "none",
	[WIRE_COLD_BUILDING] = "building",
	[WIRE_COLD_STALE] = "stale",
	[WIRE_COLD_REFUSED] = "refused",
	[WIRE_COLD_MISMATCH] = "mismatch",
	[WIRE_COLD_BUDGET] = "budget",
	[WIRE_COLD_ERROR] = "error",
	[WIRE_COLD_DISABLED] = "disabled",
	[WIRE_COLD_WAITS] = "waits",
	[WIRE_COLD_RIGHTS] = "rights",
	[WIRE_LAUNCHED] = "launched",
	[WIRE_COLD_NO_DAEMON] = "no_daemon",
	[WIRE_COLD_TIMEOUT] = "timeout",
	[WIRE_COLD_VERSION] = "version",
	[WIRE_COLD_FAILED] = "failed",
};
_Static_assert(sizeof(status_names) / sizeof(status_names[0]) == WIRE_STATUS_COUNT, "a name for each status");

const char *wire_status_name(uint32_t status)
{
	return status < WIRE_STATUS_COUNT ? status_names[status] : "unknown";
}
