package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// inspect says what this machine is. What the system does not tell is empty.
func inspect() machine {
	m := machine{Cores: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version()}
	m.CPU = field("/proc/cpuinfo", "model name", ":")
	m.Caches = caches("/sys/devices/system/cpu/cpu0/cache")
	m.Kernel = firstLine("/proc/sys/kernel/osrelease")
	if name := field("/etc/os-release", "PRETTY_NAME", "="); name != "" {
		m.System += ", " + strings.Trim(name, `"`)
	}
	kib, err := strconv.ParseInt(strings.TrimSuffix(field("/proc/meminfo", "MemTotal", ":"), " kB"), 10, 64)
	if err == nil {
		m.Memory = kib << 10
	}
	m.LoadAvg = firstLine("/proc/loadavg")
	return m
}

// processorCache is one cache of the first core.
type processorCache struct {
	Level int    `json:"level"`
	Type  string `json:"type"` // Data, Instruction or Unified
	Bytes int64  `json:"bytes"`
	// Cores lists the cores that share it, such as "0-1".
	Cores string `json:"cores"`
}

// String is such as "L1d 32 KiB" or "L3 32 MiB of cores 0-1".
func (c processorCache) String() string {
	name := fmt.Sprintf("L%d", c.Level)
	if c.Type != "Unified" && c.Type != "" {
		name += strings.ToLower(c.Type[:1])
	}
	size := fmt.Sprintf("%d KiB", c.Bytes>>10)
	if c.Bytes >= 1<<20 && c.Bytes%(1<<20) == 0 {
		size = fmt.Sprintf("%d MiB", c.Bytes>>20)
	}
	if strings.ContainsAny(c.Cores, ",-") {
		size += " of cores " + c.Cores
	}
	return name + " " + size
}

// caches reads what the folder of a core says about its caches. One that is not
// described in full is left out.
func caches(dir string) []processorCache {
	var found []processorCache
	for i := 0; ; i++ {
		index := filepath.Join(dir, fmt.Sprintf("index%d", i))
		if _, err := os.Stat(index); err != nil {
			return found
		}
		level, levelErr := strconv.Atoi(firstLine(filepath.Join(index, "level")))
		kib, sizeErr := strconv.ParseInt(strings.TrimSuffix(firstLine(filepath.Join(index, "size")), "K"), 10, 64)
		if levelErr != nil || sizeErr != nil {
			continue
		}
		found = append(found, processorCache{
			Level: level, Type: firstLine(filepath.Join(index, "type")), Bytes: kib << 10,
			Cores: firstLine(filepath.Join(index, "shared_cpu_list")),
		})
	}
}

// field is the value of the first line "name SEP value" of a file.
func field(file, name, sep string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for line := range bytes.Lines(b) {
		if k, v, ok := strings.Cut(string(line), sep); ok && strings.TrimSpace(k) == name {
			return strings.TrimSpace(v)
		}
	}
	return ""
}

func firstLine(file string) string {
	b, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(b), "\n")
	return line
}

// revision is the commit of the working tree, with "+" if it has changes.
func revision(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--short=12", "HEAD").Output()
	if err != nil {
		return "unknown"
	}
	rev := strings.TrimSpace(string(out))
	changes, err := exec.CommandContext(ctx, "git", "status", "--porcelain", "--untracked-files=no").Output()
	if err != nil || len(changes) > 0 {
		rev += "+"
	}
	return rev
}
