package main

import (
	_ "embed"
	"os/exec"
	"slices"
	"strings"
)

// setup is a proxy with a configuration.
type setup struct {
	// name is what -setups says, title what the report calls it.
	name, title string
	// text is the configuration. The environment says LISTEN, and for each target ADDRESS_1
	// (host and port) and TARGET_1 (URL).
	text string
	// haproxy says that HAProxy is the proxy, and not weir.
	haproxy bool
	// full says that it is also seen what happens when nothing can answer, and that the details are reported.
	full bool
	// strict says that no GET may fail.
	strict bool
}

//go:embed probes.toml
var probes string

//go:embed short.toml
var short string

//go:embed targets.toml
var targetsOnly string

//go:embed haproxy.cfg
var haproxyChecks string

// setups are all there are.
func setups() []setup {
	return []setup{
		{name: "probes", title: "weir, with probes and `ewma`", text: probes, full: true, strict: true},
		{name: "short", title: "weir, retries and `first_byte`", text: short, strict: true},
		{name: "targets", title: "weir, `targets` alone", text: targetsOnly, strict: true},
		{name: "haproxy-checks", title: "HAProxy, with checks", text: haproxyChecks, haproxy: true},
		{name: "haproxy", title: "HAProxy, without", text: strings.ReplaceAll(haproxyChecks, " check\n", "\n"), haproxy: true},
	}
}

// chosen returns the setups that names, separated by commas, names; all if it is empty.
// Those whose program is not installed are missing only in the latter case.
func chosen(names string) (list []setup, unknown string) {
	if names == "" {
		_, err := exec.LookPath("haproxy")
		return slices.DeleteFunc(setups(), func(s setup) bool { return s.haproxy && err != nil }), ""
	}
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(setups(), func(s setup) bool { return s.name == name })
		if i < 0 {
			return nil, name
		}
		list = append(list, setups()[i])
	}
	return list, ""
}

// reloads says whether the proxy reloads when the stage plays that.
func (s *setup) reloads() bool { return !s.haproxy }

// counts says whether the proxy says how many attempts it makes.
func (s *setup) counts() bool { return strings.Contains(s.text, "[metrics]") }
