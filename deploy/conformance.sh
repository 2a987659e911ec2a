#!/bin/sh
# Runs the public suite http-tests/cache-tests against weir.
# usage: conformance.sh WEIR SUITE [PORT]
# WEIR is the binary, SUITE a checkout of the suite (after "npm install"); PORT
# and the one after it are used on 127.0.0.1.
set -eu
weir=$1 suite=$2 port=${3:-18400}
work=$(mktemp -d)
trap 'kill $origin $proxy 2>/dev/null || true; rm -rf "$work"' EXIT INT TERM
origin='' proxy=''

cat >"$work/weir.toml" <<CONFIG
[[listeners]]
address = "127.0.0.1:$((port + 1))"
[[routes]]
upstream = "origin"
[routes.cache]
set_cookie = "always"
sort_languages = true
[upstreams.origin]
targets = ["http://127.0.0.1:$port"]
# The suite's origin closes what is idle for 5 s.
[upstreams.origin.connections]
idle = "4s"
[access_log]
output = "off"
CONFIG

cat >"$work/score.mjs" <<SCORE
import { readFileSync } from 'fs'
import { determineTestResult, resultTypes } from '$suite/test-engine/lib/results.mjs'
import suites from '$suite/tests/index.mjs'
const results = JSON.parse(readFileSync('$work/results.json'))
const score = {}
for (const test of suites.flatMap(s => s.tests).filter(t => !t.browser_only)) {
  const kind = test.kind || 'required'
  const result = determineTestResult(suites, test.id, results)
  score[kind] ||= { passed: 0, of: 0 }
  score[kind].of++
  if (result === resultTypes.pass || result === resultTypes.yes) score[kind].passed++
  else if (kind !== 'check') console.log(kind, test.id, JSON.stringify(results[test.id]))
}
for (const kind in score) console.log(kind, score[kind].passed + '/' + score[kind].of)
const ok = score.required.passed >= 159 && score.optimal.passed >= 98
process.exit(ok ? 0 : 1)
SCORE

cd "$suite"
npm_config_protocol=http npm_config_port=$port npm_config_base= npm_config_pidfile="$work/pid" \
	node test-engine/server/server.mjs >/dev/null 2>&1 &
origin=$!
"$weir" run --config "$work/weir.toml" >"$work/weir.log" 2>&1 &
proxy=$!
sleep 2
npm_config_base=http://127.0.0.1:$((port + 1)) npm_config_id='' npm_package_config_id='' \
	node --no-warnings test-engine/cli.mjs >"$work/results.json"
node "$work/score.mjs"
