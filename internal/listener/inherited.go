package listener

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// firstInherited is the number of the first passed descriptor (sd_listen_fds(3)).
const firstInherited = 3

// Inherited are the sockets that the service manager opened and passed on. They
// stay open for the life of the process, so that a listener that a reload
// removed can come back, and so that no client is refused across restarts.
type Inherited struct {
	files map[string][]*os.File
}

// Inherit takes over the sockets passed by sd_listen_fds(3): getenv (usually
// os.Getenv) gives LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, pid is the
// caller's process id. Without them, or if they are meant for another process,
// there are no sockets, which is no error. Call it once in a process, before
// anything else opens descriptors, and do not pass the variables on to children.
func Inherit(pid int, getenv func(string) string) (*Inherited, error) {
	in := &Inherited{files: make(map[string][]*os.File)}
	if getenv("LISTEN_FDS") == "" || getenv("LISTEN_PID") != strconv.Itoa(pid) {
		return in, nil
	}
	count, err := strconv.Atoi(getenv("LISTEN_FDS"))
	if err != nil || count < 0 || count > 1<<16 {
		return nil, fmt.Errorf("cannot take over passed sockets: LISTEN_FDS is %q, allowed is a count", getenv("LISTEN_FDS"))
	}
	var names []string
	if text := getenv("LISTEN_FDNAMES"); text != "" {
		names = strings.Split(text, ":")
	}
	if len(names) != 0 && len(names) != count {
		return nil, fmt.Errorf("cannot take over passed sockets: LISTEN_FDNAMES has %d names for %d sockets", len(names), count)
	}
	for i := range count {
		name := "unknown" // what sd_listen_fds_with_names(3) says
		if len(names) > 0 {
			name = names[i]
		}
		syscall.CloseOnExec(firstInherited + i)
		in.files[name] = append(in.files[name], os.NewFile(uintptr(firstInherited+i), name))
	}
	return in, nil
}

// Names returns the names of the sockets, sorted, each once.
func (in *Inherited) Names() []string {
	if in == nil {
		return nil
	}
	return slices.Sorted(maps.Keys(in.files))
}

// listeners returns new listeners on all sockets of a name.
func (in *Inherited) listeners(name string) ([]net.Listener, error) {
	if in == nil || len(in.files[name]) == 0 {
		return nil, fmt.Errorf("the service manager passed no socket %q, it passed %q", name, in.Names())
	}
	var opened []net.Listener
	for _, f := range in.files[name] {
		s, err := net.FileListener(f)
		if err != nil {
			for _, o := range opened {
				o.Close()
			}
			return nil, fmt.Errorf("cannot use passed socket %q: %w", name, err)
		}
		opened = append(opened, s)
	}
	return opened, nil
}
