# SPDX-License-Identifier: MIT
# Unit tests: one program a file, included by the top-level Makefile.
#
#   make unit              all of them; $(B)/tests/unit.count gets "PASSED FAILED"
#   make unit T=layout     one of them
#
# The folders mirror the tree. The tests of a folder are linked with its layer (LAYER_ in the Makefile) and nothing
# above, so that a call upwards fails to build.
# WARM_MUST_WORK=1 counts skipped tests as failures.

UNIT_FOLDERS := base pty wire engine kinds plan dump image config stale build keep connection metrics template pool warmd
unit_sources = $(wildcard tests/unit/$(1)/test_*.c tests/unit/$(1)/$(ARCH)/test_*.c)
UNIT_LAUNCHER_SRC := $(call unit_sources,launcher)
UNIT_NAMES := $(notdir $(basename $(foreach f,$(UNIT_FOLDERS) launcher,$(call unit_sources,$(f)))))
UNIT_TIMEOUT ?= 60

# what several tests of a folder share
UNIT_MORE_plan := $(B)/obj/tests/unit/plan/laid_out.o
UNIT_MORE_image := $(B)/obj/tests/unit/image/a_model.o
UNIT_MORE_stale := $(B)/obj/tests/unit/scratch.o
UNIT_MORE_build := $(B)/obj/tests/unit/scratch.o $(B)/obj/tests/unit/build/observed.o
UNIT_MORE_keep := $(B)/obj/tests/unit/scratch.o
UNIT_MORE_template := $(B)/obj/tests/unit/scratch.o
UNIT_MORE_pool := $(B)/obj/tests/unit/scratch.o

define unit_test # folder, source
$(B)/tests/$(notdir $(basename $(2))): $(B)/obj/$(2:.c=.o) $(UNIT_MORE_$(1)) $(call libs,$(LAYER_$(1)))
	@mkdir -p $$(@D)
	$$(CC) $$(SANFLAGS) -o $$@ $$^ $$(HOST_LIBS) -pthread -lutil -lcmocka
endef
$(foreach f,$(UNIT_FOLDERS),$(foreach s,$(call unit_sources,$(f)),$(eval $(call unit_test,$(f),$(s)))))

$(B)/tests/test_tool: $(B)/obj/tests/unit/launcher/test_tool.o $(filter-out $(B)/obj/launcher/tool.o,$(TOOL_OBJ)) $(call libs,$(TOOL_LAYER))
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^ $(TOOL_LIBS) -lcmocka

# libwarm as programs have it, and a warmd of the test's
$(B)/tests/test_libwarm_%: $(B)/obj/tests/unit/launcher/test_libwarm_%.o $(B)/obj/tests/unit/launcher/fake_warmd.o $(LIBWARM_OBJ)
	@mkdir -p $(@D)
	$(CC) $(SANFLAGS) -o $@ $^ -pthread -lcmocka

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
