# moe-tools: five programs over one library. `make help` lists the targets.

VERSION := 0.1.0
PREFIX  ?= /usr/local
DESTDIR ?=
bindir   = $(PREFIX)/bin
mandir   = $(PREFIX)/share/man
sharedir = $(PREFIX)/share/moe-tools

# The order in which data flows: a folder includes itself and those before it, never a later one (tests/lint checks).
LIB_ORDER := base tensor device checkpoint text model route plan forward trace eval stats placement convert plot
# Plug-in folders: adding a member is adding a file.
KINDS := tensor/codec device/cpu/dot checkpoint/format model/family route/policy forward/mixer trace/format \
         stats/metric placement/planner

BUILD    ?= build
CC       ?= cc
OPT      ?= -O2 -g
WARN     := -Wall -Wextra -Wpedantic
WERROR   ?=
SAN      ?=
CPPFLAGS += -D_GNU_SOURCE -DMOE_VERSION='"$(VERSION)"' -Ilib -I$(BUILD)/gen
CFLAGS   += -std=c17 $(OPT) $(WARN) $(WERROR) $(SAN) -ffp-contract=off -fno-math-errno -pthread
LDFLAGS  += $(SAN) -pthread

# zlib unless libdeflate is there; DEFLATE=zlib forces the former.
HAVE_LIBDEFLATE := $(shell printf '\#include <libdeflate.h>\nint main(void){return 0;}\n' | \
                     $(CC) -x c - -o /dev/null -ldeflate 2>/dev/null && echo yes)
DEFLATE ?= $(if $(HAVE_LIBDEFLATE),libdeflate,zlib)
ifeq ($(DEFLATE),libdeflate)
CPPFLAGS += -DMOE_HAVE_LIBDEFLATE
DEFLATE_LIB := -ldeflate
endif
LIBS := -ljansson -lpcre2-8 -lutf8proc -lxxhash -lz $(DEFLATE_LIB) -lm

TOOLS    := $(sort $(basename $(notdir $(wildcard cmd/moe-*.c))))
LIB_SRC  := $(sort $(foreach d,$(LIB_ORDER),$(shell find lib/$(d) -name '*.c' 2>/dev/null)))
LIB_OBJ  := $(LIB_SRC:%.c=$(BUILD)/%.o)
TOOL_BIN := $(TOOLS:%=$(BUILD)/bin/%)
GEN      := $(foreach k,$(KINDS),$(BUILD)/gen/gen/$(subst /,_,$(k)).h)
UNIT     := $(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/unit/test_*.c tests/fuzz/fuzz_*.c))

.SECONDARY:
.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.PHONY: all tests features FORCE
FORCE:
all: $(TOOL_BIN) features
tests: $(UNIT)

# One table per plug-in folder: a line X(member) per file, sorted; touched only when the listing changes.
define kind_rule
$(BUILD)/gen/gen/$(subst /,_,$(1)).h: FORCE
	@mkdir -p $$(@D)
	@for f in $$(sort $$(wildcard lib/$(1)/*.c)); do n=$$$${f##*/}; echo "X($$$${n%.c})"; done > $$@.new
	@if cmp -s $$@.new $$@; then rm $$@.new; else mv $$@.new $$@; fi
endef
$(foreach k,$(KINDS),$(eval $(call kind_rule,$(k))))

$(BUILD)/%.o: %.c | $(GEN)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/libmoe.a: $(LIB_OBJ)
	@rm -f $@
	$(AR) rcs $@ $^

$(BUILD)/bin/%: $(BUILD)/cmd/%.o $(BUILD)/cmd/tool.o $(BUILD)/libmoe.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/tests/%: $(BUILD)/tests/%.o $(BUILD)/libmoe.a
	$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

features:
	@printf 'deflate %s\n' '$(DEFLATE)'

-include $(LIB_OBJ:.o=.d) $(patsubst %,$(BUILD)/cmd/%.d,$(TOOLS) tool) $(UNIT:=.d)
