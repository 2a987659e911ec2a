#!/usr/bin/env bash
# dist.sh OUT VERSION: builds into OUT what a release of weir consists of: programs,
# packages, lists of contents (SBOM) and checksums. The same source, version of Go and VERSION
# give the same bytes. "make dist" runs it.
#
# PLATFORMS are those of programs; those of Linux get packages too. TAGS and LDFLAGS are those of
# "make build". MAINTAINER stands in packages.
set -euo pipefail
cd "$(dirname "$0")/../.."

out=$(mkdir -p "$1" && cd "$1" && pwd)
version=${2:?usage: dist.sh OUT VERSION}
: "${PLATFORMS:=linux/amd64 linux/arm64 darwin/amd64 darwin/arm64}" "${TAGS:=}" "${LDFLAGS:=-s -w}"
export MAINTAINER=${MAINTAINER:-weir <weir@example.org>}

# Run by version: see STATICCHECK in the Makefile.
nfpm=github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2

# Nothing that differs between machines goes in.
umask 022
export LC_ALL=C TZ=UTC CGO_ENABLED=0 GOAMD64=v1 GOARM64=v8.0
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || echo 0)}
export SOURCE_DATE_EPOCH

# Package managers compare versions: 1.2.3~rc1 is before 1.2.3, and 1.2.3+5.gabc (five commits
# later) after it. A revision without a tag comes before all releases.
package_version() {
	local v=${1#v}
	if [[ ! $v =~ ^[0-9]+\. ]]; then v=0+$v; fi
	sed -E -e 's/-([0-9]+)-(g[0-9a-f]+)/+\1.\2/' -e 's/-dirty$/+dirty/' -e 's/\+(.*)\+/+\1./' -e 's/-/~/g' <<<"$v"
}
PACKAGE_VERSION=$(package_version "$version")
export PACKAGE_VERSION

stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
tool() { (cd "$1" && shift && GOFLAGS='' GOOS='' GOARCH='' go run "$@"); }

# build OS ARCH FILE. What git says of the checkout at that moment is left out: the version is in the program.
build() { GOOS=$1 GOARCH=$2 go build -trimpath -buildvcs=false -tags "$TAGS" -ldflags "$LDFLAGS -X main.version=$version" -o "$3" .; }

# What packages contain besides the program. Its manual page and completions it prints itself.
install -d "$stage"/files
build "$(go env GOHOSTOS)" "$(go env GOHOSTARCH)" "$stage/weir"
"$stage/weir" man >"$stage/files/weir.1"
for shell in bash zsh fish; do "$stage/weir" completion $shell >"$stage/files/weir.$shell"; done
sed -e 's#/usr/local/#/usr/#g' deploy/systemd/weir.service >"$stage/files/weir.service"
cp deploy/systemd/weir.{socket,sysusers} deploy/packages/{weir.logrotate,copyright,lintian} deploy/packages/{deb,rpm}-*.sh \
	config.toml CHANGELOG.md docs/{service,listeners,install}.md "$stage/files"
gzip -9n "$stage/files/weir.1" "$stage/files/CHANGELOG.md"
printf 'weir (%s-1) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' "$PACKAGE_VERSION" "$MAINTAINER" \
	"$(date -R -u -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$stage/files/changelog.Debian.gz"
chmod 0644 "$stage"/files/*

files=()
for platform in $PLATFORMS; do
	os=${platform%/*} arch=${platform#*/}
	name=weir-$version-$os-$arch
	build "$os" "$arch" "$out/$name"
	tool deploy/packages/sbom . "$out/$name" >"$out/$name.cdx.json"
	files+=("$name" "$name.cdx.json")
	if [[ $os != linux ]]; then continue; fi
	cp "$out/$name" "$stage/files/weir"
	chmod 0755 "$stage/files/weir"
	find "$stage/files" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
	cp deploy/packages/nfpm.yaml "$stage"
	for format in deb rpm; do
		ARCH=$arch tool "$stage" "$nfpm" package --packager "$format" --target "$out/weir-$version-linux-$arch.$format" >/dev/null
		files+=("weir-$version-linux-$arch.$format")
	done
done
(cd "$out" && sha256sum "${files[@]}" >SHA256SUMS)
