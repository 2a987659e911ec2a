#!/bin/sh
getent group weir >/dev/null || groupadd --system weir
getent passwd weir >/dev/null ||
	useradd --system --gid weir --home-dir /var/lib/weir --no-create-home --shell /sbin/nologin weir
