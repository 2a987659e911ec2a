#!/bin/sh
# The first installation starts the service, as Debian expects. An upgrade replaces
# the running process without losing a request.
set -e

if [ "$1" = configure ] || [ "$1" = abort-upgrade ]; then
	if [ -z "$2" ]; then
		if command -v systemd-sysusers >/dev/null; then
			systemd-sysusers weir.conf
		elif ! getent passwd weir >/dev/null; then
			useradd --system --user-group --home-dir /var/lib/weir --shell /usr/sbin/nologin weir
		fi
		chown root:weir /etc/weir /etc/weir/config.toml
		chmod 0750 /etc/weir
	fi
	deb-systemd-helper unmask weir.service >/dev/null || true
	if deb-systemd-helper --quiet was-enabled weir.service; then
		deb-systemd-helper enable weir.service >/dev/null || true
	else
		deb-systemd-helper update-state weir.service >/dev/null || true
	fi
	if [ -d /run/systemd/system ]; then
		systemctl --system daemon-reload >/dev/null || true
		if systemctl --quiet is-active weir.service; then
			weir upgrade --pid-file /run/weir/weir.pid ||
				echo 'weir: the old process goes on; when the reason above is mended: weir upgrade --pid-file /run/weir/weir.pid' >&2
		elif [ -z "$2" ]; then
			deb-systemd-invoke start weir.service ||
				echo 'weir: the service did not start: journalctl -u weir' >&2
		fi
	fi
fi
