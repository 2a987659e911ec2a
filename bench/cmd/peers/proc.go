package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// stat is what /proc/PID/stat says about a process.
type stat struct {
	pid, parent int
	// user and system are the process's own time; childUser and childSystem
	// that of children it has waited for. All in ticks of 1/100 s.
	user, system, childUser, childSystem int64
}

// tick is the unit of /proc/PID/stat: USER_HZ, which is 100 on every Linux.
const tick = 10 * time.Millisecond

// parseStat reads the content of /proc/PID/stat. The name in parentheses may
// hold anything, spaces and parentheses too, so fields count from its end.
func parseStat(b []byte) (stat, error) {
	var s stat
	open, shut := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 0 || shut < open {
		return s, fmt.Errorf("cannot parse process status %q: no name in parentheses", b)
	}
	var err error
	if s.pid, err = strconv.Atoi(string(bytes.TrimSpace(b[:open]))); err != nil {
		return s, fmt.Errorf("cannot parse process status %q: %w", b, err)
	}
	f := bytes.Fields(b[shut+1:])
	if len(f) < 15 {
		return s, fmt.Errorf("cannot parse process status %q: %d fields after the name, want at least 15", b, len(f))
	}
	if s.parent, err = strconv.Atoi(string(f[1])); err != nil {
		return s, fmt.Errorf("cannot parse process status %q: %w", b, err)
	}
	for i, p := range []*int64{&s.user, &s.system, &s.childUser, &s.childSystem} {
		if *p, err = strconv.ParseInt(string(f[11+i]), 10, 64); err != nil {
			return s, fmt.Errorf("cannot parse process status %q: %w", b, err)
		}
	}
	return s, nil
}

// tree lists root and its descendants.
func tree(proc string, root int) ([]stat, error) {
	names, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "stat"))
	if err != nil {
		return nil, fmt.Errorf("cannot list processes: %w", err)
	}
	children := make(map[int][]stat)
	var found []stat
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // ended meanwhile
		}
		s, err := parseStat(b)
		if err != nil {
			return nil, err
		}
		children[s.parent] = append(children[s.parent], s)
		if s.pid == root {
			found = append(found, s)
		}
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("cannot find process %d", root)
	}
	for i := 0; i < len(found); i++ {
		found = append(found, children[found[i].pid]...)
	}
	return found, nil
}

// usage is the resources of a process tree at one moment.
type usage struct {
	// cpu is user plus system time, in nanoseconds where the kernel tells.
	cpu time.Duration
	// user and system have the grain of a tick.
	user, system time.Duration
	// resident is the proportional share of memory (pages shared inside the
	// tree count once), in bytes.
	resident int64
}

// measureTree sums up a process tree. Memory is read only if asked for: it
// walks page tables.
func measureTree(root int, memory bool) (usage, error) {
	var u usage
	procs, err := tree("/proc", root)
	if err != nil {
		return u, err
	}
	for _, p := range procs {
		own := time.Duration(p.user+p.system) * tick
		if fine, ok := processClock(p.pid); ok {
			own = fine
		}
		u.cpu += own + time.Duration(p.childUser+p.childSystem)*tick
		u.user += time.Duration(p.user+p.childUser) * tick
		u.system += time.Duration(p.system+p.childSystem) * tick
		if memory {
			b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
			if err != nil {
				continue // ended meanwhile
			}
			pss, err := parsePSS(b)
			if err != nil {
				return u, err
			}
			u.resident += pss
		}
	}
	return u, nil
}

// parsePSS reads the proportional set size, in bytes, from the content of
// /proc/PID/smaps_rollup.
func parsePSS(b []byte) (int64, error) {
	for line := range bytes.Lines(b) {
		f := bytes.Fields(line)
		if len(f) == 3 && string(f[0]) == "Pss:" {
			kib, err := strconv.ParseInt(string(f[1]), 10, 64)
			if err != nil {
				return 0, fmt.Errorf("cannot parse memory %q: %w", line, err)
			}
			return kib << 10, nil
		}
	}
	return 0, fmt.Errorf("cannot find Pss in %q", b)
}
