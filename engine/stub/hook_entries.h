/* SPDX-License-Identifier: MIT */
/* hook_entries.h - for C and for assembly: how many exit hooks of each kind have an entry of their own in the stub */
#ifndef WARM_ENGINE_STUB_HOOK_ENTRIES_H
#define WARM_ENGINE_STUB_HOOK_ENTRIES_H

#define STUB_HOOK_ENTRIES 16

#endif
