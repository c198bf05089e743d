# SPDX-License-Identifier: GPL-2.0-or-later
# The newest entry of debian/changelog has version and date, for programs, pages and packages.
VERSION := $(shell sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
PREFIX  ?= /usr
DESTDIR ?=
SYSCONFDIR ?= /etc
STATIC  ?= 1
V       ?= 0

# ARCH is the machine that things are built for: for another than this one by the cross compiler with its name. CC alone
# says it, too.
BUILD_ARCH := $(shell uname -m)
ifeq ($(origin CC),default)
CC      := $(patsubst %,%-linux-gnu-,$(filter-out $(BUILD_ARCH),$(ARCH)))gcc
endif
# Nothing before `make setup` has installed a compiler.
TRIPLE  := $(shell $(CC) -dumpmachine 2>/dev/null)
ARCH    ?= $(or $(firstword $(subst -, ,$(TRIPLE))),$(BUILD_ARCH))
FOREIGN := $(filter-out $(BUILD_ARCH),$(ARCH))
$(if $(filter $(ARCH),x86_64 aarch64),,$(error ARCH=$(ARCH): known are x86_64 and aarch64))
$(if $(or $(TRIPLE),$(filter $(BUILD_ARCH),$(ARCH))),,$(error $(CC) is missing (Debian: gcc-$(subst _,-,$(ARCH))-linux-gnu)))
$(if $(filter-out $(ARCH)-%,$(TRIPLE)),$(error $(CC) compiles for $(TRIPLE), not for ARCH=$(ARCH)))
O       ?= build$(FOREIGN:%=/%)$(if $(filter 1,$(STATIC)),,/shared)
STRIP    = $(shell $(CC) -print-prog-name=strip)
AR       = $(shell $(CC) -print-prog-name=ar)
OBJCOPY  = $(shell $(CC) -print-prog-name=objcopy)
CFLAGS  ?= -Os -g
WARN    := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wformat=2 -Wvla
BRANCHES_x86_64  := -fcf-protection
BRANCHES_aarch64 := -mbranch-protection=standard
HARDEN  := -D_FORTIFY_SOURCE=2 -fstack-protector-strong -fstack-clash-protection $(BRANCHES_$(ARCH))
MODULES := libcryptsetup devmapper uuid libcurl tss2-esys tss2-sys tss2-tctildr tss2-tcti-device tss2-tcti-swtpm tss2-rc \
           tss2-mu libcbor json-c openssl
# Of mu-verifier alone: server and databases.
RELYING_MODULES := libmicrohttpd gnutls sqlite3 libpq
ifdef CI
WARN    += -Werror
endif

ifeq ($(STATIC),1)
PKG_CONFIG = PKG_CONFIG_LIBDIR=$(DEPS)/lib/pkgconfig pkg-config --static
# binutils knows packed relocations of some machines, and warns of the others.
PACK_x86_64 := -Wl,-z,pack-relative-relocs
LINK        = -static-pie $(PACK_$(ARCH)) -Wl,-Map=$@.map
SBOM       := $(O)/measured-unlock.spdx.json $(O)/measured-unlock-verifier.spdx.json
# No byte of a program depends on where it is built.
MAP         = -ffile-prefix-map=$(CURDIR)=. -ffile-prefix-map=$(DEPS)=deps
else
PKG_CONFIG = pkg-config
LINK       := -pie
endif

# Asked for when something is compiled, not when this is read: 'make deps deb' makes the libraries first.
once = $(eval $(1) := $(2))$($(1))
ifeq ($(STATIC),1)
DEPS        = $(call once,DEPS,$(shell CC='$(CC)' unlock/deps/build --print-prefix))
dry_run     = $(findstring n,$(firstword -$(MAKEFLAGS)))
libraries   = $(if $(dry_run)$(filter deps,$(MAKECMDGOALS))$(shell test -d '$(DEPS)' && echo y),,$(error \
              The static libraries are not built: run 'make deps' first, or 'make STATIC=0'))
endif
PKG_CFLAGS  = $(libraries)$(call once,PKG_CFLAGS,$(shell $(PKG_CONFIG) --cflags $(MODULES) $(RELYING_MODULES)))
PKG_LIBS    = $(libraries)$(call once,PKG_LIBS,$(shell $(PKG_CONFIG) --libs $(MODULES)))
RELYING_LIBS = $(libraries)$(call once,RELYING_LIBS,$(shell $(PKG_CONFIG) --libs $(RELYING_MODULES) $(MODULES)))

ALL_CFLAGS  = -std=gnu17 -fPIE -ffunction-sections -fdata-sections -fno-asynchronous-unwind-tables -pthread $(WARN) $(HARDEN) \
              $(MAP) -Iunlock -D_GNU_SOURCE -DMU_VERSION='"$(VERSION)"' $(PKG_CFLAGS) $(CFLAGS)
ALL_LDFLAGS = $(LINK) -pthread -Wl,--gc-sections -Wl,-z,relro,-z,now,-z,noexecstack $(LDFLAGS)

comma := ,
Q := $(if $(filter 1,$(V)),,@)
# What glibc says of name lookup in a static program is no news: docs/develop/decisions/build.md.
link = $(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(1) 2>$@.said || { cat $@.said >&2; exit 1; }; \
       grep -v -e 'in statically linked applications' -e ': in function .*:$$' $@.said >&2; rm $@.said
say = @$(if $(filter 1,$(V)),true,printf '  %-7s %s\n' $(1) $(2))

# The trusted part, in rooms that may use those before them in this list; measured-unlock is that and nothing else.
TRUSTED  := base tpm measure net jose attest volume release boot
# Outside it.
TOOLS    := cli appraise build policy doctor ctl
# The relying side: mu-verifier is that, and what it uses of the others.
RELYING  := fleet page verifier relying
sources   = $(wildcard $(foreach room,$(1),unlock/$(room)/*.c))
BOOT_SRC := $(call sources,boot)
TRUSTED_SRC := $(call sources,$(filter-out boot,$(TRUSTED)))
CTL_SRC  := $(call sources,ctl)
TOOLS_SRC := $(call sources,$(filter-out ctl,$(TOOLS)))
VERIFIER_SRC := $(call sources,$(filter-out relying,$(RELYING)))
RELYING_SRC := $(call sources,relying)
P384_SRC := $(wildcard unlock/verifier/s2n-bignum/$(ARCH)/*.S)
UNIT_SRC := $(wildcard tests/unit/test_*.c)
UNIT_LIB := $(filter-out $(UNIT_SRC),$(wildcard tests/unit/*.c))
object    = $(patsubst %.c,$(O)/%.o,$(1))
UNIT     := $(patsubst tests/unit/%.c,$(O)/unit/%,$(UNIT_SRC))

PROGRAMS := $(addprefix $(O)/,measured-unlock muctl mu-verifier)
PAGES    := $(addprefix $(O)/man/,$(notdir $(wildcard docs/man/*.[1-8])))
all: $(PROGRAMS) $(PAGES) $(if $(filter 1,$(STATIC)),$(O)/trusted $(SBOM))

help:
	@echo 'make              the three programs, static, in build/ (after make deps)'
	@echo 'make STATIC=0     the same against the distribution'"'"'s shared libraries, in build/shared/'
	@echo 'make demo         a guest that unlocks, and two that refuse     (installs what it needs)'
	@echo 'make demo-fleet   three emulated instances and their page, on 127.0.0.1 (installs what it needs)'
	@echo 'make check        the tests of every change: about an hour     (installs what it needs)'
	@echo 'make check-all    every test                                   (installs what it needs)'
	@echo 'make bench        speed and size against the usual pipeline'
	@echo 'make soak         MINUTES=60 of a fleet against mu-verifier while things fail; SEED= the same faults'
	@echo 'make endurance    BOOTS=200 boots with faults at random; SEED= the same dice; VM=1 in QEMU'
	@echo 'make deps         the static libraries, from source packages'
	@echo 'make unit         the unit tests alone;  make integration, make vm, make faults'
	@echo 'make vm SUITE=NAME  all whole boots on a guest of bookworm, trixie or testing'
	@echo 'make test T=NAME  the tests with that name, or about that room of unlock/'
	@echo 'make fuzz         FUZZ_TIME=60 FUZZ=TARGET; see tests/fuzz/README.md'
	@echo 'make install      DESTDIR= PREFIX=/usr;  make uninstall'
	@echo 'make deb rpm oci  packages of the static programs, in build/'
	@echo 'ARCH=aarch64 builds for Graviton, in build/aarch64/ (on another machine: gcc-aarch64-linux-gnu)'
	@echo 'V=1 shows the commands.'

$(O)/measured-unlock: $(call object,$(BOOT_SRC)) $(O)/libtrusted.a
$(O)/muctl: $(call object,$(CTL_SRC)) $(O)/libtools.a $(O)/libtrusted.a
# Before libcrypto, which has the same object as it was.
P384 := $(if $(filter 1,$(STATIC)),$(O)/unlock/verifier/p384.o $(O)/ecp_nistp384.o)
$(O)/mu-verifier: $(P384)
$(O)/mu-verifier: $(call object,$(RELYING_SRC)) $(O)/libverifier.a $(O)/libtools.a $(O)/libtrusted.a
$(O)/mu-verifier: private PKG_LIBS = $(RELYING_LIBS)
$(PROGRAMS):
	$(call say,LD,$@)
	$(call link,-o $@.debug $^ $(PKG_LIBS))
	$(Q)$(STRIP) -R .comment -o $@ $@.debug

# How many lines the trusted part has; fails if it has what the boot program has not, or uses what is outside it.
$(O)/trusted: $(O)/measured-unlock unlock/rooms
	$(Q)unlock/rooms $(O)/measured-unlock.map $(O)/libtrusted.a $(TRUSTED) >$@.part
	$(Q)mv $@.part $@

$(O)/measured-unlock.spdx.json: $(O)/measured-unlock $(O)/muctl
$(O)/measured-unlock-verifier.spdx.json: $(O)/mu-verifier
$(O)/%.spdx.json: unlock/deps/sbom
	$(call say,SBOM,$@)
	$(Q)unlock/deps/sbom $* $(VERSION) $(DEPS) $(filter $(PROGRAMS),$^) >$@.part
	$(Q)mv $@.part $@

$(O)/man/%: docs/man/% debian/changelog
	$(Q)mkdir -p $(dir $@)
	$(Q)date=$$(LC_ALL=C date -u -d "$$(sed -n 's/^ -- .*>  //p' debian/changelog | head -n 1)" +%F) && \
	    sed "/^\.TH/{s/@VERSION@/$(VERSION)/;s/@DATE@/$$date/}" $< >$@

# What must not steer a boot, and what is in an image: one table of each, for the dracut module and the programs.
$(O)/doors_table.c: unlock/base/doors.awk
$(O)/parts_table.c: unlock/doctor/parts.awk
$(O)/%_table.c: dracut-module/%
	$(call say,GEN,$@)
	$(Q)mkdir -p $(dir $@)
	$(Q)awk -f $(filter %.awk,$^) $< >$@.part
	$(Q)mv $@.part $@
# The style of the page about a fleet, as a string.
$(O)/style_table.c: unlock/page/page.css
	$(call say,GEN,$@)
	$(Q)mkdir -p $(dir $@)
	$(Q){ echo '#include "page/html.h"'; echo 'const char page_style[] ='; \
	      sed 's/["\\]/\\&/g;s/.*/"&\\n"/' $<; echo ';'; } >$@.part
	$(Q)mv $@.part $@
$(O)/%_table.o: $(O)/%_table.c $(O)/flags
	$(call say,CC,$@)
	$(Q)$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(O)/libtrusted.a: $(call object,$(TRUSTED_SRC)) $(O)/doors_table.o
$(O)/libtools.a: $(call object,$(TOOLS_SRC)) $(O)/parts_table.o
$(O)/libverifier.a: $(call object,$(VERIFIER_SRC)) $(P384_SRC:%.S=$(O)/%.o) $(O)/style_table.o
$(O)/libtrusted.a $(O)/libtools.a $(O)/libverifier.a:
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$(O)/%.o: %.S $(O)/flags
	$(call say,AS,$@)
	$(Q)mkdir -p $(dir $@)
	$(Q)$(CC) $(ALL_CFLAGS) -Iunlock/verifier/s2n-bignum -c -o $@ $<

# OpenSSL's P-384 with unlock/verifier/p384.c in the place of its multiplication, which keeps another name.
$(O)/ecp_nistp384.o: $(O)/flags
	$(call say,OBJCOPY,$@)
	$(Q)$(AR) p $(DEPS)/lib/libcrypto.a libcrypto-lib-ecp_nistp384.o >$@.part
	$(Q)$(OBJCOPY) --add-symbol p384_mul_openssl=.text.ossl_ec_GFp_nistp384_points_mul:0,global,function \
	    --redefine-sym ossl_ec_GFp_nistp384_points_mul=p384_mul --weaken-symbol=p384_mul $@.part
	$(Q)mv $@.part $@

$(O)/%.o: %.c $(O)/flags
	$(call say,CC,$@)
	$(Q)mkdir -p $(dir $@)
	$(Q)$(CC) $(ALL_CFLAGS) $(INCLUDE) -MMD -MP -c -o $@ $<

# Objects are made again when the compiler or its flags change.
$(O)/flags: FORCE $(filter deps,$(MAKECMDGOALS))
	@mkdir -p $(O)
	@echo '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(RELYING_LIBS))' | cmp -s - $@ || \
	    echo '$(subst ','\'',$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(RELYING_LIBS))' > $@

# What the relying side has of its own is linked into its tests alone.
RELYING_UNIT := $(addprefix $(O)/unit/test_,approved history p384 page store verifier watch)
$(RELYING_UNIT): $(O)/libverifier.a
$(RELYING_UNIT): private PKG_LIBS = $(RELYING_LIBS)
$(O)/unit/%: $(O)/tests/unit/%.o $(call object,$(UNIT_LIB)) $(O)/libtools.a $(O)/libtrusted.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) -o $@ $(filter %.o %/libverifier.a,$^) $(O)/libtools.a $(O)/libtrusted.a -lcmocka $(PKG_LIBS)
$(O)/tests/unit/%.o: INCLUDE := -Itests/unit

-include $(patsubst %.o,%.d,$(call object,$(TRUSTED_SRC) $(TOOLS_SRC) $(VERIFIER_SRC) $(BOOT_SRC) $(CTL_SRC) $(RELYING_SRC) $(UNIT_SRC) $(UNIT_LIB)))
-include $(wildcard $(O)/tests/bench/*.d $(O)/tests/integration/*.d $(O)/tests/attacks/*.d)

units: $(UNIT)

$(O)/%.tidy: %.c .clang-tidy $(wildcard unlock/*/*.h) $(O)/flags
	$(call say,TIDY,$<)
	$(Q)mkdir -p $(dir $@)
	$(Q)clang-tidy --quiet $< -- $(ALL_CFLAGS) -DMU_ANALYZE 2>$@.log || { cat $@.log >&2; exit 1; }
	$(Q)touch $@
tidy: $(patsubst %.c,$(O)/%.tidy,$(TRUSTED_SRC) $(TOOLS_SRC) $(VERIFIER_SRC) $(BOOT_SRC) $(CTL_SRC) $(RELYING_SRC))

# Drives the providers for tests/integration/test_release.py.
$(O)/integration/release_driver: $(O)/tests/integration/release_driver.o $(O)/libtrusted.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(call link,-o $@ $^ $(PKG_LIBS))

# Makes and opens tokens, for tests/integration/test_token.py.
$(O)/integration/token_driver: $(O)/tests/integration/token_driver.o $(O)/libtools.a $(O)/libtrusted.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(call link,-o $@ $^ $(PKG_LIBS))

# Verifies signatures, for tests/integration/test_ecdsa.py.
$(O)/integration/ecdsa_driver: $(O)/tests/integration/ecdsa_driver.o $(P384) $(O)/libverifier.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(call link,-o $@ $^ $(PKG_LIBS))

# Records in a store as a verifier would, for tests/integration/test_watch.py.
$(O)/integration/store_driver: $(O)/tests/integration/store_driver.o $(O)/libverifier.a $(O)/libtools.a $(O)/libtrusted.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(call link,-o $@ $^ $(RELYING_LIBS))

# One document in a loop, for tests/bench/room.
$(O)/bench/document: $(O)/tests/bench/document.o $(P384) $(O)/libverifier.a $(O)/libtools.a $(O)/libtrusted.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(call link,-o $@ $^ $(RELYING_LIBS))

# mu-verifier by a clock that tests/soak sets.
$(O)/bench/mu-verifier: $(O)/tests/bench/clock.o $(call object,$(RELYING_SRC)) $(P384) $(O)/libverifier.a $(O)/libtools.a \
                        $(O)/libtrusted.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(call link,-o $@ $^ $(RELYING_LIBS))

# The real objects without some of the defences, for tests/integration/test_attacks.py.
WEAKENED := $(shell sed -n -e 's/^WRAP.\([a-z_]*\),.*/\1/p' -e 's/^[a-z_ ]*[ *]__wrap_\([a-z_]*\).*;/\1/p' tests/attacks/weak.c)
$(O)/attacks/weak: $(O)/tests/attacks/weak.o $(call object,$(BOOT_SRC)) $(O)/libtrusted.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(dir $@)
	$(call link,$(addprefix -Wl$(comma)--wrap=,$(sort $(WEAKENED))) -o $@ $^ $(PKG_LIBS))
drivers: $(addprefix $(O)/integration/,$(addsuffix _driver,ecdsa release store token)) $(O)/bench/mu-verifier $(O)/attacks/weak

# tests/fuzz/README.md. One build serves fuzzing, replaying and measuring: clang, sanitizers, coverage.
FUZZ_SRC   := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_LIB   := $(filter-out $(FUZZ_SRC),$(wildcard tests/fuzz/*.c)) tests/unit/fake_tcti.c
FUZZERS    := $(patsubst tests/fuzz/%.c,$(O)/%,$(FUZZ_SRC))
SANITIZE   := address,undefined
FUZZ_TIME  ?= 60
fuzz-make   = +$(Q)$(MAKE) -j$(shell nproc) --no-print-directory STATIC=0 O=build/fuzz CC=clang HARDEN= fuzzers \
              CFLAGS='-O1 -g -fno-omit-frame-pointer -fsanitize=fuzzer-no-link,$(SANITIZE) -fno-sanitize-recover=all \
              -fprofile-instr-generate -fcoverage-mapping' LDFLAGS='-fsanitize=fuzzer,$(SANITIZE) -Wl,--no-gc-sections'

$(O)/libfuzz.a: $(call object,$(FUZZ_LIB))
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^
$(O)/fuzz_%: $(O)/tests/fuzz/fuzz_%.o $(O)/libfuzz.a $(O)/libverifier.a $(O)/libtools.a $(O)/libtrusted.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) $(WRAP) -o $@ $(filter %.o,$^) $(filter %.a,$^) $(RELYING_LIBS)
$(O)/tests/fuzz/%.o: INCLUDE := -Itests/unit -Itests/fuzz
# What waits between attempts returns at once; answers come from the input.
$(O)/fuzz_kms $(O)/fuzz_imds $(O)/fuzz_vault: WRAP := -Wl,--wrap=http_perform,--wrap=clock_pause_ms,--wrap=log_line
$(O)/fuzz_initramfs: WRAP := -Wl,--wrap=unpack_knows,--wrap=unpack_first
$(O)/fuzz_tpm $(O)/fuzz_nsm: WRAP := -Wl,--wrap=clock_pause_ms,--wrap=log_line
-include $(patsubst %.o,%.d,$(call object,$(FUZZ_SRC) $(FUZZ_LIB)))
.PHONY: fuzzers fuzz fuzz-build fuzz-replay fuzz-coverage
fuzzers: $(FUZZERS)

fuzz-build:
	$(fuzz-make)

fuzz: fuzz-build
	$(Q)FUZZ_TIME=$(FUZZ_TIME) tests/fuzz/run $(FUZZ)

fuzz-replay: fuzz-build
	$(Q)tests/run fuzz

fuzz-coverage: fuzz-build
	$(Q)tests/fuzz/replay --write

# The boot program of which any one library call can be made to fail: test_faults.py. Its own tree of objects, since
# the way to a call is told by frame pointers.
FAULTS_ARGS := STATIC=0 O=build/faults HARDEN= CFLAGS='-O1 -g -fno-inline -fno-omit-frame-pointer -fno-optimize-sibling-calls -DMU_UNFILTERED'
faults-program:
	$(Q)$(MAKE) --no-print-directory $(FAULTS_ARGS) build/faults/faults
ifeq ($(O),build/faults)
FAULTS_SRC := $(wildcard tests/faults/*.c)
$(O)/wrap.args: $(O)/measured-unlock tests/faults/generate tests/faults/table $(FAULTS_SRC)
	$(call say,GEN,$(O)/wrap.S)
	$(Q)tests/faults/generate $(O)/measured-unlock.debug tests/faults/table $(O)
$(call object,$(FAULTS_SRC)): $(O)/wrap.args
$(call object,$(FAULTS_SRC)): INCLUDE := -I$(O) -mgeneral-regs-only
-include $(patsubst %.o,%.d,$(call object,$(FAULTS_SRC)))
$(O)/faults: $(call object,$(FAULTS_SRC)) $(call object,$(BOOT_SRC)) $(O)/libtrusted.a $(O)/wrap.args
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_CFLAGS) $(ALL_LDFLAGS) @$(O)/wrap.args -o $@ $(O)/wrap.S $(filter-out %.args,$^) $(PKG_LIBS) -ldl
endif

setup:
	$(Q)tests/setup

deps:
	$(Q)CC='$(CC)' unlock/deps/build

JOBS := -j$(shell nproc)

# The architecture that this machine does not have.
OTHER := $(filter-out $(BUILD_ARCH),x86_64 aarch64)

check check-all: setup deps
	$(Q)$(MAKE) $(JOBS) --no-print-directory all drivers
	$(Q)$(MAKE) $(JOBS) --no-print-directory ARCH=$(OTHER) deps
	$(Q)$(MAKE) $(JOBS) --no-print-directory ARCH=$(OTHER) CI=1 all drivers
	$(Q)$(MAKE) $(JOBS) --no-print-directory STATIC=0 CI=1 all units drivers
	$(Q)$(MAKE) $(JOBS) --no-print-directory faults-program
	$(fuzz-make)
	$(Q)tests/run $(if $(filter %-all,$@),--long)

unit:
	$(Q)$(MAKE) $(JOBS) --no-print-directory STATIC=0 units
	$(Q)tests/run $@

test:
	$(Q)$(MAKE) $(JOBS) --no-print-directory STATIC=0 all units drivers
	$(Q)tests/run of $(or $(T),$(error T=NAME: the name of a test or of a room))

integration:
	$(Q)$(MAKE) $(JOBS) --no-print-directory STATIC=0 all
	$(Q)$(MAKE) $(JOBS) --no-print-directory all drivers
	$(Q)$(MAKE) $(JOBS) --no-print-directory faults-program
	$(Q)tests/run --long $@

# The guest's programs are ARCH's; those that enrol it and predict are this machine's.
guests:
	$(Q)$(MAKE) $(JOBS) --no-print-directory ARCH=$(BUILD_ARCH) all
	$(if $(FOREIGN),$(Q)$(MAKE) $(JOBS) --no-print-directory all)

vm: guests
	$(Q)MU_ARCH=$(ARCH) MU_SUITE=$(SUITE) tests/run --long $@

faults: faults-program
	$(Q)$(MAKE) --no-print-directory STATIC=0 all
	$(Q)MU_BUILD=$(CURDIR)/build/shared /usr/bin/python3 -m pytest -q -n 2 -p no:cacheprovider tests/integration/test_faults.py

demo: setup deps
	$(if $(FOREIGN),$(Q)$(MAKE) --no-print-directory ARCH=$(BUILD_ARCH) deps)
	$(Q)$(MAKE) --no-print-directory guests
	$(Q)MU_ARCH=$(ARCH) vm-tests/demo

# Of shared libraries: that takes two minutes where the static ones take eleven.
demo-fleet: setup
	$(Q)$(MAKE) $(JOBS) --no-print-directory STATIC=0 all
	$(Q)MU_BUILD=$(CURDIR)/build/shared tests/demo-fleet

endurance: setup deps
	$(Q)$(MAKE) --no-print-directory all
	$(Q)tests/endurance --boots $(or $(BOOTS),200) $(if $(SEED),--seed $(SEED)) $(if $(filter 1,$(VM)),--vm)

soak: setup deps
	$(Q)$(MAKE) $(JOBS) --no-print-directory all drivers
	$(Q)tests/soak --minutes $(or $(MINUTES),60) $(if $(SEED),--seed $(SEED))

bench: setup deps
	$(Q)$(MAKE) --no-print-directory all $(O)/bench/document $(O)/integration/store_driver
	$(Q)tests/bench/run
	$(Q)tests/bench/room

# DESTDIR may be a guest's root, so nothing here asks this machine where things belong.
DRACUT_DIR := $(DESTDIR)$(PREFIX)/lib/dracut/modules.d/55measured-unlock
DRACUT_CONF := $(DESTDIR)$(PREFIX)/lib/dracut/dracut.conf.d/55-measured-unlock.conf
HOOKS      := $(wildcard hook/*)
PACKAGES   := measured-unlock measured-unlock-verifier
VERIFIER_MAN := $(addprefix $(O)/man/,mu-verifier.8 muctl-verifier.conf.5 muctl-watch.conf.5)
MAN        := $(filter-out $(VERIFIER_MAN),$(PAGES))
COMPLETION := unlock/packaging/completion/muctl
units_of    = $(wildcard unlock/packaging/$(1)/systemd/*)
UNIT_DIR   := $(DESTDIR)$(PREFIX)/lib/systemd/system
SHARE      := $(DESTDIR)$(PREFIX)/share
# $(1) program, $(2) package, $(3) pages; one completion serves both programs
define install_common
	$(Q)install -D -m 755 $(O)/$(1) $(DESTDIR)$(PREFIX)/bin/$(1)
	$(if $(SBOM),$(Q)install -D -m 644 $(O)/$(2).spdx.json $(SHARE)/doc/$(2)/$(2).spdx.json)
	$(Q)install -d $(UNIT_DIR) $(DESTDIR)$(SYSCONFDIR)/measured-unlock
	$(Q)install -m 644 $(call units_of,$(2)) $(UNIT_DIR)
	$(Q)install -D -m 644 $(COMPLETION).bash $(SHARE)/bash-completion/completions/$(1)
	$(Q)install -D -m 644 $(COMPLETION).zsh $(SHARE)/zsh/vendor-completions/_$(1)
	$(Q)install -D -m 644 $(COMPLETION).fish $(SHARE)/fish/vendor_completions.d/$(1).fish
	$(Q)unlock/packaging/documents $(2) '$(SHARE)/doc/$(2)'
	$(Q)$(foreach page,$(3),install -D -m 644 $(page) $(SHARE)/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page)) &&) true
endef

install: $(addprefix install-,$(PACKAGES))

install-measured-unlock: all
	$(call say,INSTALL,$(or $(DESTDIR),/))
	$(call install_common,muctl,measured-unlock,$(MAN))
	$(Q)install -D -m 755 $(O)/measured-unlock $(DESTDIR)$(PREFIX)/lib/measured-unlock/measured-unlock
	$(Q)install -d $(DRACUT_DIR)
	$(Q)install -m 755 dracut-module/module-setup.sh $(filter-out %.sh,$(HOOKS)) $(DRACUT_DIR)
	$(Q)install -m 644 $(filter %.sh,$(HOOKS)) $(wildcard $(addprefix dracut-module/*.,service conf network)) $(addprefix dracut-module/,doors parts) \
	    $(DRACUT_DIR)
	$(Q)install -D -m 644 dracut-module/omit $(DRACUT_CONF)
	$(Q)install -D -m 644 dracut-module/amazon-roots.pem $(SHARE)/measured-unlock/amazon-roots.pem

install-measured-unlock-verifier: all
	$(call say,INSTALL,$(or $(DESTDIR),/))
	$(call install_common,mu-verifier,measured-unlock-verifier,$(VERIFIER_MAN))
	$(Q)$(foreach kind,sysusers tmpfiles,install -D -m 644 unlock/packaging/measured-unlock-verifier/$(kind).conf \
	    $(DESTDIR)$(PREFIX)/lib/$(kind).d/measured-unlock-verifier.conf &&) true

uninstall:
	$(call say,REMOVE,$(or $(DESTDIR),/))
	$(Q)rm -rf $(DRACUT_DIR) $(addprefix $(DESTDIR)$(PREFIX)/,lib/measured-unlock share/measured-unlock) $(addprefix $(SHARE)/doc/,$(PACKAGES))
	$(Q)rm -f $(DRACUT_CONF) $(foreach program,muctl mu-verifier,$(DESTDIR)$(PREFIX)/bin/$(program) $(addprefix $(SHARE)/, \
	    bash-completion/completions/$(program) zsh/vendor-completions/_$(program) fish/vendor_completions.d/$(program).fish)) \
	    $(addprefix $(UNIT_DIR)/,$(notdir $(foreach name,$(PACKAGES),$(call units_of,$(name))))) \
	    $(foreach kind,sysusers tmpfiles,$(DESTDIR)$(PREFIX)/lib/$(kind).d/measured-unlock-verifier.conf) \
	    $(foreach page,$(MAN) $(VERIFIER_MAN),$(SHARE)/man/man$(subst .,,$(suffix $(page)))/$(notdir $(page)))

# $(1) the stage of all packages, $(2) name. A line of its own for $(MAKE), as make -n runs the lines that have it.
define stage
	$(Q)$(MAKE) --no-print-directory install-$(2) DESTDIR='$(1)/$(2)' PREFIX=/usr SYSCONFDIR=/etc

endef

# Packages are of the static programs: what they need is in them. debian/rules and measured-unlock.spec make the others.
deb rpm oci: STAGE = $(abspath $(O))/package/$@
oci: PACKAGES = measured-unlock-verifier
deb rpm oci: all
	$(if $(filter 1,$(STATIC)),,$(error A package holds the static programs: run 'make $@' without STATIC=0))
	$(Q)rm -rf '$(STAGE)' '$(STAGE).rpm'
	$(foreach name,$(PACKAGES),$(call stage,$(STAGE),$(name)))
	$(Q)cp $(DEPS)/versions '$(STAGE)/versions'
	$(Q)CC='$(CC)' unlock/packaging/build $@ '$(STAGE)' '$(abspath $(O))'

fmt:
	$(Q)clang-format -i unlock/*/*.[ch] tests/unit/*.[ch] tests/fuzz/*.[ch]

clean:
	$(Q)rm -rf build

FORCE:
.PHONY: all help units tidy drivers setup deps check check-all unit test integration guests vm faults faults-program demo demo-fleet bench endurance soak fmt clean install $(addprefix install-,$(PACKAGES)) uninstall deb rpm oci FORCE
.SECONDARY:
