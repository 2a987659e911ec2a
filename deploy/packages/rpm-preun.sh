#!/bin/sh
# $1 is 0 at a removal, 1 at an upgrade.
if [ "$1" -eq 0 ] && [ -d /run/systemd/system ]; then
	systemctl --no-reload disable --now weir.service || :
fi
