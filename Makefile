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
PKGS := libprotobuf-c libcap libelf libcjson libsystemd

B := build
ifdef SAN
B := build/san
SANFLAGS := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
endif

WARNINGS := -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla
CPPFLAGS := -D_GNU_SOURCE -I. -I$(B)/gen -DWARM_VERSION='"$(VERSION)"' -DWARM_PREFIX='"$(PREFIX)"'
CFLAGS := -std=gnu11 -O2 -g $(WARNINGS) -fno-strict-aliasing
HOST_CFLAGS := $(CFLAGS) $(SANFLAGS) -fPIC $(shell pkg-config --cflags $(PKGS))
HOST_LIBS := $(shell pkg-config --libs $(PKGS))
TOOL_LIBS := $(shell pkg-config --libs libprotobuf-c libcap libelf libcjson)

# V=1 shows the commands
ifndef V
.SILENT:
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
PROTO := warmd/control.proto
PROTO_C := $(PROTO:%.proto=$(B)/gen/%.pb-c.c)
PROTO_H := $(PROTO:%.proto=$(B)/gen/%.pb-c.h)

$(B)/gen/%.pb-c.c $(B)/gen/%.pb-c.h: %.proto
	@mkdir -p $(@D)
	protoc-c --c_out=$(B)/gen $<

$(B)/gen/%.pb-c.o: $(B)/gen/%.pb-c.c
	$(CC) $(CPPFLAGS) $(HOST_CFLAGS) -c $< -o $@

# --- host objects --------------------------------------------------------------
$(B)/obj/%.o: %.c | $(PROTO_H)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(HOST_CFLAGS) -Iengine/arch/$(ARCH) -MMD -MP -c $< -o $@

BASE_SRC := $(wildcard engine/base/*.c)
ENGINE_SRC := $(filter-out engine/become%.c,$(wildcard engine/*.c engine/arch/$(ARCH)/*.c))
SNAPSHOT_SRC := $(wildcard snapshot/*.c)
WARMD_SRC := $(wildcard warmd/*.c)
TOOL_SRC := $(wildcard launcher/tool*.c launcher/doctor*.c) launcher/client.c launcher/client_start.c launcher/context.c

DAEMON_OBJ := $(patsubst %.c,$(B)/obj/%.o,$(BASE_SRC) $(ENGINE_SRC) $(SNAPSHOT_SRC) $(WARMD_SRC) launcher/client.c launcher/client_start.c) \
	$(PROTO_C:%.c=%.o) $(B)/gen/stub.o $(B)/gen/adaptor.o
$(B)/gen/stub.o: $(B)/gen/stub.blob.S
	$(CC) -c $< -o $@
$(B)/gen/adaptor.o: $(B)/gen/adaptor.blob.S
	$(CC) -c $< -o $@

$(B)/warmd: $(DAEMON_OBJ)
	$(CC) $(SANFLAGS) -o $@ $^ $(HOST_LIBS)

$(B)/warm-tool: $(patsubst %.c,$(B)/obj/%.o,$(BASE_SRC) $(TOOL_SRC)) $(PROTO_C:%.c=%.o)
	$(CC) $(SANFLAGS) -o $@ $^ $(TOOL_LIBS)

# --- the launcher: static musl, no libc start-up worth the name -------------------
MUSL_CFLAGS := -std=gnu11 -Os $(WARNINGS) -fno-strict-aliasing -fno-stack-protector -fno-pie -fvisibility=hidden \
	-ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables \
	-idirafter /usr/include -idirafter /usr/include/$(ARCH)-linux-gnu
WARM_SRC := launcher/warm.c launcher/client.c launcher/client_start.c launcher/context.c engine/become.c engine/become_json.c engine/base/error.c engine/base/fd.c

$(B)/musl/%.o: %.c
	@mkdir -p $(@D)
	$(MUSL_CC) $(CPPFLAGS) $(MUSL_CFLAGS) -MMD -MP -c $< -o $@

$(B)/warm: $(WARM_SRC:%.c=$(B)/musl/%.o)
	$(MUSL_CC) -static -no-pie -Wl,--gc-sections -Wl,-z,norelro -Wl,--build-id=none -s -o $@ $^

# --- libwarm ---------------------------------------------------------------------
LIBWARM_SRC := $(wildcard launcher/libwarm*.c)
$(B)/libwarm.a: $(LIBWARM_SRC:%.c=$(B)/obj/%.o)
	rm -f $@
	ar rcs $@ $^
$(B)/libwarm.so: $(LIBWARM_SRC:%.c=$(B)/obj/%.o) launcher/libwarm.map
	$(CC) $(SANFLAGS) -shared -Wl,-soname,libwarm.so.0 -Wl,--version-script=launcher/libwarm.map -o $@ $(filter %.o,$^)

clean:
	rm -rf build

.PHONY: all clean
-include $(shell find $(B) -name '*.d' 2>/dev/null)
