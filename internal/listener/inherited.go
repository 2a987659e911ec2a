package listener

import (
	"fmt"
	"maps"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// firstInherited is the number of the first passed descriptor (sd_listen_fds(3)).
const firstInherited = 3

// Inherited are the sockets that this process did not open itself: those of the service
// manager, and those of a process that this one replaces, or that ran before it and left copies with
// the service manager. The service manager's stay
// open for the life of the process, so that a listener that a reload removed can come
// back, and so that no client is refused across restarts.
type Inherited struct {
	files map[string][]*os.File // the service manager's, by name

	uses []string // of all that taken ever had

	mu    sync.Mutex
	taken map[string]*os.File // those of processes before this one, by what they used them for
}

// NewInherited returns an Inherited without sockets.
func NewInherited() *Inherited {
	return &Inherited{files: make(map[string][]*os.File), taken: make(map[string]*os.File)}
}

// systemdPrefix begins the addresses of sockets that the service manager has named.
const systemdPrefix = "systemd:"

// Add adds a listening socket of the process that this one replaces, which used it for an
// address: one of a listener, or "NAME=ADDRESS" of the page NAME. f belongs to in from now on.
func (in *Inherited) Add(use string, f *os.File) {
	if name, ok := strings.CutPrefix(use, systemdPrefix); ok {
		in.files[name] = append(in.files[name], f)
		return
	}
	in.uses = append(in.uses, use)
	in.taken[use] = f
}

// Each calls f with each socket of the service manager, and with the address for which it is
// used.
func (in *Inherited) Each(f func(use string, socket syscall.Conn)) {
	if in == nil {
		return
	}
	for name, list := range in.files {
		for _, file := range list {
			f(systemdPrefix+name, file)
		}
	}
}

// Drop closes the sockets of the replaced process that nothing has taken.
func (in *Inherited) Drop() {
	if in == nil {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, f := range in.taken {
		f.Close()
	}
	clear(in.taken)
}

// take returns a listener on the socket that the replaced process used so; nil if there is none.
func (in *Inherited) take(use string) (net.Listener, error) {
	if in == nil {
		return nil, nil
	}
	in.mu.Lock()
	f := in.taken[use]
	delete(in.taken, use)
	in.mu.Unlock()
	if f == nil {
		return nil, nil
	}
	defer f.Close()
	s, err := fileListener(f)
	if err != nil {
		return nil, fmt.Errorf("cannot use the socket of the process before this one: %w", err)
	}
	return s, nil
}

// fileListener returns a listener on a copy of f.
func fileListener(f *os.File) (net.Listener, error) {
	s, err := net.FileListener(f)
	if tcp, ok := s.(*net.TCPListener); ok {
		return keptAlive{tcp}, nil
	}
	return s, err
}

// keptAlive is a TCP listener on a passed socket, for which net has no place for keepAlive.
type keptAlive struct{ *net.TCPListener }

func (l keptAlive) Accept() (net.Conn, error) {
	c, err := l.AcceptTCP()
	if err != nil {
		return nil, err
	}
	c.SetKeepAliveConfig(keepAlive()) // fails only if the client has gone
	return c, nil
}

// Inherit takes over the sockets passed by sd_listen_fds(3): getenv (usually
// os.Getenv) gives LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES, pid is the
// caller's process id. Without them, or if they are meant for another process,
// there are no sockets, which is no error. Call it once in a process, before
// anything else opens descriptors, and do not pass the variables on to children.
func Inherit(pid int, getenv func(string) string) (*Inherited, error) {
	in := NewInherited()
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
		f := os.NewFile(uintptr(firstInherited+i), name)
		if use, ok := storedUse(name); ok {
			in.Add(use, f)
		} else {
			in.files[name] = append(in.files[name], f)
		}
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
		s, err := fileListener(f)
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
