# SPDX-License-Identifier: MIT
# Unit tests: one program a file, included by the top-level Makefile.
#
#   make unit              all of them; $(B)/tests/unit.count gets "PASSED FAILED"
#   make unit T=layout     one of them
#
# WARM_MUST_WORK=1 counts skipped tests as failures.

UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_ARCH_SRC := $(wildcard tests/unit/$(ARCH)/test_*.c)
UNIT_NAMES := $(notdir $(basename $(UNIT_SRC) $(UNIT_ARCH_SRC)))
UNIT_TIMEOUT ?= 60
UNIT_DAEMON_OBJ := $(filter-out $(B)/obj/warmd/main.o,$(DAEMON_OBJ))
UNIT_TOOL_OBJ := $(filter-out $(B)/obj/launcher/tool.o,$(patsubst %.c,$(B)/obj/%.o,$(BASE_SRC) $(ENGINE_SRC) $(PTY_SRC) $(TOOL_SRC))) \
	$(PROTO_C:%.c=%.o)

$(B)/tests/test_tool: $(B)/obj/tests/unit/test_tool.o $(UNIT_TOOL_OBJ)
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^ $(TOOL_LIBS) -lcmocka

$(B)/tests/test_%: $(B)/obj/tests/unit/test_%.o $(UNIT_DAEMON_OBJ)
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^ $(HOST_LIBS) -lcmocka

# libwarm as programs have it, and a warmd of the test's
$(B)/tests/test_libwarm_%: $(B)/obj/tests/unit/test_libwarm_%.o $(B)/obj/tests/unit/fake_warmd.o $(LIBWARM_OBJ)
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^ -pthread -lcmocka

# pty/ may use nothing but engine/base
UNIT_PTY := ring relay giveback sent
$(UNIT_PTY:%=$(B)/tests/test_%): $(B)/tests/test_%: $(B)/obj/tests/unit/test_%.o \
	$(patsubst %.c,$(B)/obj/%.o,$(BASE_SRC) $(PTY_SRC))
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^ -pthread -lutil -lcmocka

# what several tests share
$(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_layout*.c)): $(B)/obj/tests/unit/laid_out.o
$(B)/tests/test_deps $(B)/tests/test_watch $(B)/tests/test_memory: $(B)/obj/tests/unit/scratch.o
$(patsubst tests/unit/%.c,$(B)/tests/%,$(wildcard tests/unit/test_observe*.c)): $(B)/obj/tests/unit/scratch.o \
	$(B)/obj/tests/unit/observed.o

# a part of the launcher, for once with the host's libc
$(B)/tests/test_become_json: $(B)/obj/engine/become_json.o

$(UNIT_ARCH_SRC:tests/unit/$(ARCH)/%.c=$(B)/tests/%): $(B)/tests/%: $(B)/obj/tests/unit/$(ARCH)/%.o $(UNIT_DAEMON_OBJ)
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^ $(HOST_LIBS) -lcmocka

# a program to be looked at from outside, with both kinds of libc; never instrumented
$(B)/tests/child_glibc: tests/unit/child.c
	@mkdir -p $(@D)
	$(CC) -D_GNU_SOURCE $(CFLAGS) -o $@ $< -pthread

$(B)/tests/child_musl: tests/unit/child.c
	@mkdir -p $(@D)
	$(MUSL_CC) -D_GNU_SOURCE $(CFLAGS) -static -o $@ $<

unit: $(if $(T),$(B)/tests/test_$(T),$(UNIT_NAMES:%=$(B)/tests/%)) $(B)/tests/child_glibc $(B)/tests/child_musl
	tests/unit/run.sh $(UNIT_TIMEOUT) $(B)/tests/unit.count $(filter $(B)/tests/test_%,$^)

.PHONY: unit
