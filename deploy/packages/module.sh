#!/usr/bin/env bash
# module.sh PATH: gives the module another path, in go.mod and in all imports, those of the
# documents' examples included. "make module PATH=..." runs it.
set -euo pipefail
cd "$(dirname "$0")/../.."

new=${1:?usage: module.sh PATH, such as example.org/weir}
old=$(go list -m)
go mod edit -module "$new"
import='^(import )?[[:space:]]*([A-Za-z_.]+ )?"'$old'(/[a-z0-9_/]+)?"$'
grep -rlE --include='*.go' --include='*.md' "$import" . | while read -r file; do
	sed -E -i.old "\\#$import#s#\"$old#\"$new#" "$file"
	rm "$file.old"
done
gofmt -w .
echo "module $new: once it is published, go install $new@VERSION installs weir"
