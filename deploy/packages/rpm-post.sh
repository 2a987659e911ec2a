#!/bin/sh
# $1 is 1 at the first installation, which leaves the start to the administrator (systemctl
# preset), and 2 at an upgrade, which replaces the running process without losing a request.
if [ "$1" -eq 1 ]; then
	chown root:weir /etc/weir /etc/weir/config.toml
	chmod 0750 /etc/weir
fi
[ -d /run/systemd/system ] || exit 0
systemctl daemon-reload || :
if [ "$1" -eq 1 ]; then
	systemctl --no-reload preset weir.service || :
elif systemctl --quiet is-active weir.service; then
	weir upgrade --pid-file /run/weir/weir.pid ||
		echo 'weir: the old process goes on; when the reason above is mended: weir upgrade --pid-file /run/weir/weir.pid' >&2
fi
exit 0
