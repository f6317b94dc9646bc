# SPDX-License-Identifier: GPL-3.0-or-later
# Installation and packages. Nothing is compiled here: run `make release` first, or use PROFILE=dev
# for the programs of `make test`. DESTDIR is put in front of every path; PACKAGES is the folder of
# the packages.

PROFILE ?= release
PACKAGES ?= $(CURDIR)/target/packages
VERSION := $(shell cat version)
REL := $(shell cat rel)
HOST = $(shell rustc -vV | sed -n 's/^host: //p')
BUILT = $(if $(filter dev,$(PROFILE)),debug,release)
PROGRAMS ?= target/$(BUILT)
# One static file for every template, which uses no library of the template.
HELPER ?= target/static/$(HOST)/$(BUILT)/wyng-transport-vm
# The tests of a static helper need a fast build, not a fast program.
STATIC_FLAGS = $(if $(filter dev,$(PROFILE)),--config profile.dev.opt-level=0 --config 'profile.dev.package."*".opt-level=0' --config profile.dev.debug=false,--release)

LIBEXEC = $(DESTDIR)/usr/libexec/wyng
SYSTEMD = $(DESTDIR)/usr/lib/systemd
SHARE = $(DESTDIR)/usr/share
DOCS = README.md SECURITY.md CHANGELOG.md CONTRIBUTING.md

.PHONY: release static install-dom0 install-vm rpm deb source

release: rust
	$(CARGO) build --locked --release $(CARGO_FLAGS) --package wyngd --package wyng-ctl --package wyng-transport-vm
	@$(MAKE) --no-print-directory static PROFILE=release

static: helper-rust
	RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked $(CARGO_FLAGS) $(STATIC_FLAGS) --package wyng-transport-vm --target $(HOST) --target-dir target/static

# The admin domain. The helper is included for stores on this machine, and for a restore without
# Qubes.
install-dom0: $(PROGRAMS)/wyngd $(PROGRAMS)/wyng-ctl $(HELPER)
	install -D -s -m 0755 $(PROGRAMS)/wyng-ctl $(DESTDIR)/usr/bin/wyng-ctl
	install -D -s -m 0755 $(PROGRAMS)/wyngd $(LIBEXEC)/wyngd
	install -D -s -m 0755 $(HELPER) $(LIBEXEC)/wyng-transport-vm
	install -D -m 0755 reader/read_archive.py $(SHARE)/wyng/read_archive.py
	install -D -m 0644 reader/requirements.txt $(SHARE)/wyng/requirements.txt
	install -d -m 0755 $(DESTDIR)/etc/wyng
	install -D -m 0664 rpc-policy/60-wyng.policy $(DESTDIR)/etc/qubes/policy.d/60-wyng.policy
	install -d -m 0755 $(SYSTEMD)/system $(SYSTEMD)/user
	install -m 0644 systemd/*.service systemd/*.socket systemd/*.timer $(SYSTEMD)/system
	install -m 0644 systemd/user/*.service systemd/user/*.path $(SYSTEMD)/user
	install -D -m 0644 packaging/desktop/wyng.desktop $(SHARE)/applications/wyng.desktop
	install -D -m 0644 packaging/desktop/wyng.svg $(SHARE)/icons/hicolor/scalable/apps/wyng.svg
	install -D -m 0644 systemd/85-wyng.preset $(SYSTEMD)/system-preset/85-wyng.preset
	install -D -m 0644 systemd/user/85-wyng.preset $(SYSTEMD)/user-preset/85-wyng.preset
	install -D -m 0644 systemd/wyng.sysusers $(DESTDIR)/usr/lib/sysusers.d/wyng.conf
	install -D -m 0644 systemd/12-wyng-ignore-lvm-devices.rules $(DESTDIR)/usr/lib/udev/rules.d/12-wyng-ignore-lvm-devices.rules
	install -D -m 0644 systemd/12-wyng-ignore-zvols.rules $(DESTDIR)/usr/lib/udev/rules.d/12-wyng-ignore-zvols.rules
	install -D -m 0644 systemd/wyng.tmpfiles $(DESTDIR)/usr/lib/tmpfiles.d/wyng.conf
	install -D -m 0644 systemd/wyng.dracut.conf $(DESTDIR)/usr/lib/dracut/dracut.conf.d/90-wyng.conf
	install -d -m 0755 $(SHARE)/man/man1 $(SHARE)/man/man5 $(SHARE)/man/man8 $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions $(SHARE)/fish/vendor_completions.d
	$(PROGRAMS)/wyng-ctl man $(SHARE)/man/man1
	mv $(SHARE)/man/man1/*.5 $(SHARE)/man/man5 && mv $(SHARE)/man/man1/*.8 $(SHARE)/man/man8
	gzip -9 -n -f $(SHARE)/man/man1/wyng-ctl*.1 $(SHARE)/man/man5/wyng.toml.5 $(SHARE)/man/man8/wyngd.8
	$(PROGRAMS)/wyng-ctl completions bash > $(SHARE)/bash-completion/completions/wyng-ctl
	$(PROGRAMS)/wyng-ctl completions zsh > $(SHARE)/zsh/site-functions/_wyng-ctl
	$(PROGRAMS)/wyng-ctl completions fish > $(SHARE)/fish/vendor_completions.d/wyng-ctl.fish
	chmod 0644 $(SHARE)/man/man1/wyng-ctl*.1.gz $(SHARE)/man/man5/wyng.toml.5.gz $(SHARE)/man/man8/wyngd.8.gz $(SHARE)/bash-completion/completions/wyng-ctl $(SHARE)/zsh/site-functions/_wyng-ctl $(SHARE)/fish/vendor_completions.d/wyng-ctl.fish
	install -d -m 0755 $(SHARE)/doc/wyng/docs/schema $(SHARE)/doc/wyng/docs/pictures
	install -m 0644 $(DOCS) ARCHITECTURE.md rpc-policy/50-wyng-adminvm.policy.example $(SHARE)/doc/wyng
	install -m 0644 docs/*.md $(SHARE)/doc/wyng/docs
	install -m 0644 docs/pictures/*.svg $(SHARE)/doc/wyng/docs/pictures
	install -d -m 0755 $(SHARE)/doc/wyng/systemd/wyngd.service.d $(SHARE)/doc/wyng/systemd/wyng-backup@.service.d $(SHARE)/doc/wyng/systemd/wyng-verify@.service.d $(SHARE)/doc/wyng/systemd/wyng-rehearse@.service.d
	install -m 0644 systemd/examples/wyngd.service.d/*.conf $(SHARE)/doc/wyng/systemd/wyngd.service.d
	install -m 0644 systemd/examples/wyng-backup@.service.d/*.conf $(SHARE)/doc/wyng/systemd/wyng-backup@.service.d
	install -m 0644 systemd/examples/wyng-verify@.service.d/*.conf $(SHARE)/doc/wyng/systemd/wyng-verify@.service.d
	install -m 0644 systemd/examples/wyng-rehearse@.service.d/*.conf $(SHARE)/doc/wyng/systemd/wyng-rehearse@.service.d
	install -m 0644 docs/schema/*.json $(SHARE)/doc/wyng/docs/schema
	install -D -m 0644 LICENSE $(SHARE)/licenses/wyng/LICENSE

# A template: the helper, and the services that start it. Nothing runs until it is called.
install-vm: $(HELPER)
	install -D -s -m 0755 $(HELPER) $(LIBEXEC)/wyng-transport-vm
	install -d -m 0755 $(DESTDIR)/etc/qubes-rpc $(DESTDIR)/etc/qubes/rpc-config
	install -m 0755 rpc-policy/services/* $(DESTDIR)/etc/qubes-rpc
	install -m 0644 rpc-policy/rpc-config/* $(DESTDIR)/etc/qubes/rpc-config
	install -d -m 0755 $(SHARE)/doc/wyng-vm
	install -m 0644 README.md SECURITY.md docs/protocol.md $(SHARE)/doc/wyng-vm
	install -D -m 0644 LICENSE $(SHARE)/licenses/wyng-vm/LICENSE

$(PROGRAMS)/wyngd $(PROGRAMS)/wyng-ctl $(HELPER):
	@echo "$@ is not built: make release comes first" >&2; exit 1

# The same steps as a package builder's, but with programs that are built already.
rpm: packaging/rpm/wyng-dom0.spec.in packaging/rpm/wyng-vm.spec.in $(PROGRAMS)/wyngd $(PROGRAMS)/wyng-ctl $(HELPER)
	mkdir -p $(PACKAGES)/build
	for name in wyng-dom0 wyng-vm; do \
	  sed 's/@VERSION@/$(VERSION)/; s/@REL@/$(REL)/; /@CHANGELOG@/d' packaging/rpm/$$name.spec.in > $(PACKAGES)/build/$$name.spec && \
	  rpmbuild --quiet -bb --with prebuilt --define '_sourcedir $(CURDIR)' --define '_topdir $(PACKAGES)/build' --define '_rpmdir $(PACKAGES)' \
	    --define 'wyng_make $(MAKE) PROFILE=$(PROFILE) PROGRAMS=$(PROGRAMS) HELPER=$(HELPER)' $(PACKAGES)/build/$$name.spec || exit 1; \
	done

# The input of a package builder: the commit that is checked out, and its dependencies.
source:
	mkdir -p $(PACKAGES)/build
	git archive --prefix=wyng-$(VERSION)/ --output=$(PACKAGES)/wyng-$(VERSION).tar.gz HEAD
	rm -rf $(PACKAGES)/build/vendor && $(CARGO) vendor --locked --quiet $(PACKAGES)/build/vendor >/dev/null
	tar --create --sort=name --owner=0 --group=0 --numeric-owner --mtime=@0 --directory=$(PACKAGES)/build vendor | gzip -9 -n > $(PACKAGES)/wyng-$(VERSION)-vendor.tar.gz

# The same steps as debian/rules, without debhelper.
deb: DEB_FILES ?= $(PACKAGES)/build/files
deb: $(HELPER)
	rm -rf $(PACKAGES)/build/wyng-vm && mkdir -p $(PACKAGES)/build/wyng-vm/DEBIAN
	$(MAKE) --no-print-directory install-vm DESTDIR=$(PACKAGES)/build/wyng-vm
	cd $(PACKAGES)/build/wyng-vm && find etc -type f | sort | sed 's,^,/,' > DEBIAN/conffiles
	dpkg-gencontrol -pwyng-vm -P$(PACKAGES)/build/wyng-vm -f$(DEB_FILES)
	dpkg-deb --root-owner-group --build $(PACKAGES)/build/wyng-vm $(PACKAGES)
