#!/bin/sh
# A purge removes state and logs, but not the user, whose number must not go to another one.
set -e

if [ "$1" = remove ] && command -v deb-systemd-helper >/dev/null; then
	deb-systemd-helper mask weir.service >/dev/null || true
fi
if [ "$1" = purge ]; then
	if command -v deb-systemd-helper >/dev/null; then
		deb-systemd-helper purge weir.service >/dev/null || true
		deb-systemd-helper unmask weir.service >/dev/null || true
	fi
	rm -rf /var/lib/weir /var/log/weir
	rmdir --ignore-fail-on-non-empty /etc/weir 2>/dev/null || true
fi
if [ -d /run/systemd/system ]; then
	systemctl --system daemon-reload >/dev/null || true
fi
