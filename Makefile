# SPDX-License-Identifier: MIT
# Everything is built under build/. `make SAN=1` builds with ASan and UBSan
# under build/san/ (all but the stub and the static launcher's text, which run
# in processes that have no sanitizer).

ARCH := $(shell uname -m)
PREFIX ?= /usr/local
DESTDIR ?=
VERSION := 0.1.0

CC ?= gcc
MUSL_CC ?= musl-gcc
LD ?= ld
OBJCOPY ?= objcopy
PKGS := libprotobuf-c libcap libelf libcjson libsystemd libxxhash
BUILD_DEPS := gcc g++ make pkg-config musl-tools libcap-dev libelf-dev libcjson-dev libprotobuf-c-dev \
	protobuf-c-compiler libsystemd-dev libxxhash-dev linux-libc-dev

B := build
ifdef SAN
B := build/san
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
CPPFLAGS := -D_GNU_SOURCE -I. -I$(B)/gen -DWARM_VERSION='"$(VERSION)"' -DWARM_PREFIX='"$(PREFIX)"'
CFLAGS := -std=gnu11 -O2 -g $(WARNINGS) -fno-strict-aliasing

# What a build needs is looked for when something is to be built here. These goals build nothing themselves: they install
# what is missing, and call make again.
GOALS_WITHOUT_BUILD := clean demo test test-long bench build-deps demo-deps test-deps bench-deps check-style fuzz-corpus
ifneq ($(filter-out $(GOALS_WITHOUT_BUILD),$(or $(MAKECMDGOALS),all)),)
MISSING := $(shell for c in $(firstword $(CC)) $(firstword $(MUSL_CC)) $(LD) $(OBJCOPY) protoc-c pkg-config; do \
		command -v $$c >/dev/null 2>&1 || echo $$c; done; \
	for p in $(PKGS); do pkg-config --exists $$p 2>/dev/null || echo $$p; done)
ifneq ($(MISSING),)
$(error to build warm, this is missing: $(MISSING). On Debian: apt-get install $(BUILD_DEPS) (as root, `make build-deps` does it))
endif
PKG_CFLAGS := $(shell pkg-config --cflags $(PKGS))
HOST_LIBS := $(shell pkg-config --libs $(PKGS))
TOOL_LIBS := $(shell pkg-config --libs libprotobuf-c libcap libelf libcjson libxxhash)
endif
HOST_CFLAGS := $(CFLAGS) $(SANFLAGS) -fPIC $(PKG_CFLAGS)

# V=1 shows the commands
ifndef V
.SILENT:
MAKEFLAGS += --no-print-directory
endif

.DELETE_ON_ERROR:
.SUFFIXES:
.SECONDARY:

PROGRAMS := $(B)/warm $(B)/warmd $(B)/warm-tool
LIBRARIES := $(B)/libwarm.a $(B)/libwarm.so

all: $(PROGRAMS) $(LIBRARIES)

# --- the stub: flat text, no libc, nothing instrumented ---------------------
STUB_SRC := $(wildcard engine/stub/*.c)
STUB_OBJ := $(STUB_SRC:%.c=$(B)/%.o) $(B)/engine/stub/$(ARCH)/entry.o
STUB_CFLAGS := -std=gnu11 -O2 -g0 $(WARNINGS) -ffreestanding -fPIC -fvisibility=hidden -fno-stack-protector \
	-fno-asynchronous-unwind-tables -fcf-protection=none -mgeneral-regs-only -fno-tree-loop-distribute-patterns \
	-Wno-missing-prototypes -I. -Iengine/stub/$(ARCH)

$(B)/engine/stub/%.o: engine/stub/%.c
	@mkdir -p $(@D)
	$(CC) $(STUB_CFLAGS) -MMD -MP -c $< -o $@

$(B)/engine/stub/%.o: engine/stub/%.S
	@mkdir -p $(@D)
	$(CC) $(STUB_CFLAGS) -MMD -MP -c $< -o $@

$(B)/stub.elf: $(STUB_OBJ) engine/stub/stub.lds
	$(LD) -z max-page-size=4096 -T engine/stub/stub.lds --no-undefined -o $@ $(STUB_OBJ)

$(B)/stub.bin: $(B)/stub.elf
	$(OBJCOPY) -O binary -j .text $< $@

# files that programs carry inside them
$(B)/gen/%.blob.S: %
	@mkdir -p $(@D)
	printf '.section .rodata\n.globl %s\n.balign 16\n%s: .incbin "%s"\n.globl %s_end\n%s_end: .byte 0\n.section .note.GNU-stack,"",@progbits\n' \
		$(call blob,$*) $(call blob,$*) $< $(call blob,$*) $(call blob,$*) > $@
blob = blob_$(subst -,_,$(subst .,_,$(notdir $(1))))

$(B)/gen/stub.blob.S: $(B)/stub.bin
	@mkdir -p $(@D)
	printf '.section .rodata\n.globl blob_stub\n.balign 16\nblob_stub: .incbin "%s"\n.globl blob_stub_end\nblob_stub_end: .byte 0\n.section .note.GNU-stack,"",@progbits\n' $< > $@

include lang/python/sources.mk
$(B)/gen/adaptor.py: $(PYTHON_ADAPTOR_SOURCES)
	@mkdir -p $(@D)
	cat $^ > $@

$(B)/gen/adaptor.blob.S: $(B)/gen/adaptor.py
	printf '.section .rodata\n.globl blob_python_adaptor\nblob_python_adaptor: .incbin "%s"\n.globl blob_python_adaptor_end\nblob_python_adaptor_end: .byte 0\n.section .note.GNU-stack,"",@progbits\n' $< > $@

$(B)/gen/%.o: $(B)/gen/%.S
	$(CC) -c $< -o $@

# --- protobuf ----------------------------------------------------------------
PROTO := launcher/wire/control.proto snapshot/image/model.proto snapshot/image/image.proto
PROTO_C := $(PROTO:%.proto=$(B)/gen/%.pb-c.c)
PROTO_H := $(PROTO:%.proto=$(B)/gen/%.pb-c.h)

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: %.proto
	@mkdir -p $(@D)
	protoc-c --c_out=$(B)/gen $<

$(B)/gen/%.pb-c.o: $(B)/gen/%.pb-c.c | $(PROTO_H)
	$(CC) $(CPPFLAGS) $(HOST_CFLAGS) -c $< -o $@

# --- host objects --------------------------------------------------------------
$(B)/obj/%.o: %.c | $(PROTO_H)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(HOST_CFLAGS) -Iengine/arch/$(ARCH) -MMD -MP -c $< -o $@

# One archive a folder, in the order of docs/design.md, "Folders": a program names the uppermost it uses and gets
# all below. The linker reads them once, from left to right, so a call upwards is an undefined reference.
objects = $(patsubst %.c,$(B)/obj/%.o,$(1))
sources = $(wildcard $(1:%=%/*.c))
OBJ_base := $(call objects,$(call sources,engine/base))
OBJ_pty := $(call objects,$(call sources,pty))
OBJ_wire := $(call objects,$(call sources,launcher/wire)) $(filter %/control.pb-c.o,$(PROTO_C:%.c=%.o))
# the processor, and the stub as bytes: what a plan needs of the engine, which has no process
OBJ_arch := $(call objects,$(call sources,engine/arch/$(ARCH))) $(B)/gen/stub.o
OBJ_engine := $(filter-out %/engine/become.o,$(call objects,$(call sources,engine)))
OBJ_steal := $(call objects,$(call sources,engine/steal))
OBJ_model := $(call objects,$(call sources,snapshot/model))
OBJ_kinds := $(call objects,$(call sources,snapshot/kinds))
OBJ_image := $(call objects,$(call sources,snapshot/image)) $(filter-out %/control.pb-c.o,$(PROTO_C:%.c=%.o))
OBJ_dump := $(call objects,$(call sources,snapshot/dump))
OBJ_plan := $(call objects,$(call sources,snapshot/plan))
OBJ_config := $(call objects,$(call sources,warmd/config))
OBJ_stale := $(call objects,$(call sources,warmd/stale))
OBJ_build := $(call objects,$(call sources,warmd/build)) $(B)/gen/adaptor.o
OBJ_keep := $(call objects,$(call sources,warmd/keep))
OBJ_connection := $(call objects,$(call sources,warmd/connection))
OBJ_metrics := $(call objects,$(call sources,warmd/metrics))
OBJ_template := $(call objects,$(call sources,warmd/template))
OBJ_pool := $(call objects,$(call sources,warmd/pool))
OBJ_daemon := $(filter-out %/warmd/main.o,$(call objects,$(call sources,warmd)))
LIBS := base pty wire arch engine steal model kinds image dump plan config stale build keep connection metrics template pool daemon
libs = $(1:%=$(B)/lib/%.a)

define archive
$(B)/lib/$(1).a: $$(OBJ_$(1))
	@mkdir -p $$(@D)
	rm -f $$@
	ar rcs $$@ $$^
endef
$(foreach l,$(LIBS),$(eval $(call archive,$(l))))

# what each layer may use, itself included: for programs and for the tests of that layer
LAYER_base := base
LAYER_pty := pty base
LAYER_wire := wire base
LAYER_engine := steal engine arch base
LAYER_steal := $(LAYER_engine) pty
LAYER_kinds := kinds model base
# a plan knows no process: without engine
LAYER_plan := plan kinds model arch base
LAYER_image := image model arch engine base
LAYER_snapshot := image dump plan kinds model engine arch base
LAYER_dump := $(LAYER_snapshot)
LAYER_config := config pty base
LAYER_stale := stale wire base
LAYER_build := build stale config wire $(LAYER_snapshot)
LAYER_keep := keep $(LAYER_build)
LAYER_connection := connection wire base
LAYER_metrics := metrics wire base
LAYER_template := template stale config wire base
LAYER_pool := pool template metrics connection stale config pty wire $(LAYER_snapshot)
LAYER_warmd := daemon keep build $(LAYER_pool)

$(B)/gen/stub.o: $(B)/gen/stub.blob.S
	$(CC) -c $< -o $@
$(B)/gen/adaptor.o: $(B)/gen/adaptor.blob.S
	$(CC) -c $< -o $@

$(B)/warmd: $(B)/obj/warmd/main.o $(call libs,$(LAYER_warmd))
	$(CC) $(SANFLAGS) -o $@ $^ $(HOST_LIBS)

TOOL_OBJ := $(call objects,$(wildcard launcher/tool*.c launcher/doctor*.c launcher/client*.c launcher/context.c launcher/follow_exit.c launcher/restored.c)) 
TOOL_LAYER := wire image dump plan kinds model steal engine arch pty base
$(B)/warm-tool: $(TOOL_OBJ) $(call libs,$(TOOL_LAYER))
	$(CC) $(SANFLAGS) -o $@ $^ $(TOOL_LIBS)

# --- the launcher: static musl, no libc start-up worth the name -------------------
MUSL_CFLAGS := -std=gnu11 -Os $(WARNINGS) -fno-strict-aliasing -fno-stack-protector -fno-pie -fvisibility=hidden \
	-ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
	-idirafter /usr/include -idirafter /usr/include/$(ARCH)-linux-gnu
WARM_SRC := launcher/warm.c launcher/capable.c launcher/client.c launcher/client_start.c launcher/context.c engine/become.c launcher/wire/context_json.c \
	$(addprefix engine/base/,basket.c clock.c error.c fd.c limits.c packet.c pidfd.c proc_path.c runtime_dir.c scheduling.c) \
	launcher/enter.c launcher/follow.c launcher/follow_exit.c launcher/launch.c launcher/launch_cold.c launcher/terminal.c launcher/attach.c launcher/logs.c $(wildcard pty/*.c)

$(B)/musl/%.o: %.c
	@mkdir -p $(@D)
	$(MUSL_CC) $(CPPFLAGS) $(MUSL_CFLAGS) -MMD -MP -c $< -o $@

$(B)/warm: $(WARM_SRC:%.c=$(B)/musl/%.o)
	$(MUSL_CC) -static -no-pie -Wl,--gc-sections -Wl,-z,norelro -Wl,--build-id=none -s -o $@ $^

# --- libwarm ---------------------------------------------------------------------
LIBWARM_SRC := $(wildcard launcher/libwarm*.c) launcher/client.c launcher/context.c \
	$(addprefix engine/base/,basket.c clock.c error.c facts.c fd.c packet.c pidfd.c proc_path.c runtime_dir.c scheduling.c)
LIBWARM_OBJ := $(LIBWARM_SRC:%.c=$(B)/obj/%.o)

# objects that define no name but those of warm.h, so that no program's can clash with ours: one for
# programs that launch, one for programs that are launched
$(B)/libwarm/client.o: $(filter-out %/libwarm_ready.o,$(LIBWARM_OBJ))
$(B)/libwarm/ready.o: $(B)/obj/launcher/libwarm_ready.o
$(B)/libwarm/%.o:
	@mkdir -p $(@D)
	$(LD) -r -o $@ $^
	$(OBJCOPY) --wildcard --keep-global-symbol='warm_*' $@

$(B)/libwarm.a: $(B)/libwarm/client.o $(B)/libwarm/ready.o
	rm -f $@
	ar rcs $@ $^

$(B)/libwarm.so: $(LIBWARM_OBJ) launcher/libwarm.map
	$(CC) $(SANFLAGS) -shared -pthread -Wl,-soname,libwarm.so.0 -Wl,--version-script=launcher/libwarm.map -Wl,-z,defs -o $@ $(filter %.o,$^)
	ln -sf libwarm.so $@.0

EXAMPLES := $(patsubst lang/c/%.c,$(B)/examples/%,$(wildcard lang/c/*.c))
$(B)/examples/%: lang/c/%.c $(B)/libwarm.a launcher/warm.h
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) $(SANFLAGS) -Ilauncher -o $@ $< $(B)/libwarm.a -pthread
examples: $(EXAMPLES)
.PHONY: examples

clean:
	rm -rf build

.PHONY: all clean
-include $(shell find $(B) -name '*.d' 2>/dev/null)

# --- tests, benchmarks, demo ----------------------------------------------------------
BENCH_OUT := build/bench
include benchmarks/rules.mk
-include tests/unit/rules.mk
-include tests/fuzz/rules.mk

# Debian's packages; as root they are installed when one is missing, else named. BUILD_DEPS is above
DEMO_DEPS := python3 python3-pandas
TEST_DEPS := $(DEMO_DEPS) python3-numpy python3-flask python3-psutil python3-pytest python3-pexpect libcmocka-dev python3-venv \
	python3-dev procps util-linux less vim-tiny htop tmux strace passwd libcap2-bin git btrfs-progs
BENCH_DEPS := $(DEMO_DEPS) python3-numpy python3-flask libssl-dev zlib1g-dev

# what apt says is shown when it fails: on a fresh machine it has remarks that look like errors
install_missing = missing=""; for p in $(1); do \
		dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then \
		if [ "$$(id -u)" = 0 ]; then \
			echo "installing:$$missing"; said=$$(mktemp) && \
			if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
				apt-get install -y -qq --no-install-recommends $$missing; } >"$$said" 2>&1 </dev/null; \
			then rm "$$said"; else cat "$$said" >&2; rm "$$said"; exit 1; fi; \
		else echo "not installed:$$missing (as root: apt-get install$$missing)" >&2; exit 1; fi; fi

build-deps:
	$(call install_missing,$(BUILD_DEPS))
demo-deps:
	$(call install_missing,$(BUILD_DEPS) $(DEMO_DEPS))
test-deps:
	$(call install_missing,$(BUILD_DEPS) $(TEST_DEPS))
bench-deps:
	$(call install_missing,$(BUILD_DEPS) $(BENCH_DEPS))

# recursive, because what is built depends on what was just installed (pkg-config)
demo: demo-deps
	$(MAKE) all
	$(MAKE) demo-run
test: test-deps
	tests/run.sh
# with what is long and rarely fails (@pytest.mark.long)
test-long: test-deps
	WARM_LONG=1 tests/run.sh
bench: bench-deps
	$(MAKE) all
	$(MAKE) bench-run

# includes against the direction of the folders
check-layers:
	python3 -B tests/layers.py

check-style:
	clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h' ':!*fake*')
	cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,portability \
		--suppress=missingIncludeSystem -I. -Iengine/arch/$(ARCH) -D__x86_64__ engine snapshot warmd launcher
	clang-tidy --quiet $$(git ls-files 'engine/*.c' 'snapshot/*.c' 'warmd/*.c' 'launcher/*.c' ':!engine/stub/*') -- \
		-std=gnu11 $(CPPFLAGS) -Iengine/arch/$(ARCH) $$(pkg-config --cflags $(PKGS))

# --- install -----------------------------------------------------------------------------
I := $(DESTDIR)$(PREFIX)
install: all
	install -d $(I)/bin $(I)/lib/pkgconfig $(I)/libexec/warm $(I)/include $(I)/share/man/man1 $(I)/share/man/man3 \
		$(I)/share/bash-completion/completions $(I)/share/zsh/site-functions $(I)/share/fish/vendor_completions.d \
		$(I)/lib/systemd/user $(I)/lib/warm/python/warm
	install -m 755 $(B)/warm $(I)/bin/
	install -m 755 $(B)/warmd $(B)/warm-tool $(I)/libexec/warm/
	install -m 644 $(B)/libwarm.a $(I)/lib/
	install -m 755 $(B)/libwarm.so $(I)/lib/libwarm.so.0
	ln -sf libwarm.so.0 $(I)/lib/libwarm.so
	install -m 644 launcher/warm.h $(I)/include/
	printf 'prefix=%s\nlibdir=$${prefix}/lib\nincludedir=$${prefix}/include\n\nName: warm\nDescription: launch clones of warm templates, and be one\nVersion: %s\nLibs: -L$${libdir} -lwarm\nLibs.private: -pthread\nCflags: -I$${includedir}\n' \
		$(PREFIX) $(VERSION) > $(I)/lib/pkgconfig/warm.pc
	install -m 644 docs/warm.1 docs/warmd.1 $(I)/share/man/man1/
	install -m 644 docs/libwarm.3 $(I)/share/man/man3/
	for f in $$(sed -n 's/^\t\(warm_[a-z]*\);$$/\1/p' launcher/libwarm.map); do ln -sf libwarm.3 $(I)/share/man/man3/$$f.3; done
	install -m 644 launcher/completion/warm.bash $(I)/share/bash-completion/completions/warm
	install -m 644 launcher/completion/_warm $(I)/share/zsh/site-functions/
	install -m 644 launcher/completion/warm.fish $(I)/share/fish/vendor_completions.d/
	install -m 644 launcher/systemd/warmd.socket $(I)/lib/systemd/user/
	sed 's|@LIBEXECDIR@|$(PREFIX)/libexec/warm|' launcher/systemd/warmd.service > $(I)/lib/systemd/user/warmd.service
	install -m 644 lang/python/warm/*.py $(I)/lib/warm/python/warm/

.PHONY: build-deps demo-deps test-deps bench-deps demo test test-long bench check-style install
