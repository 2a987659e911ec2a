// Package zookeepertest starts a real ZooKeeper for tests.
package zookeepertest

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/go-zookeeper/zk"

	"weir/discover"
	"weir/discover/discovertest"
	"weir/lb"
)

// classes are the program, as Debian installs it.
const classes = "/etc/zookeeper/conf:/usr/share/java/*"

// Program is a file that is there if ZooKeeper is installed.
const Program = "/usr/share/java/zookeeper.jar"

// Server is a ZooKeeper, with a relay before it.
type Server struct {
	discovertest.Process
	*discovertest.Relay

	// Conn talks to it without the relay.
	Conn   *zk.Conn
	addr   string
	folder string
}

// Start starts ZooKeeper, which must be installed.
func Start() (*Server, error) {
	addr, err := discovertest.FreeAddress()
	if err != nil {
		return nil, err
	}
	s := &Server{addr: addr}
	if s.folder, err = os.MkdirTemp("", "zookeeper"); err != nil {
		return nil, err
	}
	file := filepath.Join(s.folder, "zoo.cfg")
	host, port, _ := net.SplitHostPort(addr)
	text := fmt.Sprintf("tickTime=200\ndataDir=%s\nclientPort=%s\nclientPortAddress=%s\nadmin.enableServer=false\n4lw.commands.whitelist=ruok\nmaxSessionTimeout=60000\nforceSync=no\n",
		s.folder, port, host)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		return nil, err
	}
	s.Make = func() *exec.Cmd {
		return exec.Command("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", classes,
			"org.apache.zookeeper.server.quorum.QuorumPeerMain", file)
	}
	s.Ready = s.ready
	if s.Relay, err = discovertest.StartRelay(addr); err != nil {
		return nil, err
	}
	if err := s.Process.Start(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// ready asks whether it is well.
func (s *Server) ready() error {
	c, err := net.DialTimeout("tcp", s.addr, time.Second)
	if err != nil {
		return err
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(time.Second))
	io.WriteString(c, "ruok")
	if answer, err := io.ReadAll(c); string(answer) != "imok" {
		return errors.Join(err, fmt.Errorf("the server answers %q", answer))
	}
	return s.reconnect()
}

// reconnect makes Conn a new session, so that it does not wait for its turn to try again.
func (s *Server) reconnect() error {
	if s.Conn != nil {
		s.Conn.Close()
	}
	var err error
	var events <-chan zk.Event
	s.Conn, events, err = zk.Connect([]string{s.addr}, 10*time.Second, zk.WithLogger(silence{}))
	if err != nil {
		return err
	}
	late := time.NewTimer(answerWithin)
	defer late.Stop()
	for {
		select {
		case e := <-events:
			if e.State == zk.StateHasSession {
				return nil
			}
			if e.State == zk.StateDisconnected {
				return errors.New("there is no session")
			}
		case <-late.C:
			return errors.New("there is no session yet")
		}
	}
}

// answerWithin bounds the wait for a session. A server that is just starting may never answer who asks for one then, and
// the library would wait for that for more than a minute.
const answerWithin = 5 * time.Second

// silence takes what the library logs.
type silence struct{}

func (silence) Printf(string, ...any) {}

// Close ends it and removes its data.
func (s *Server) Close() {
	if s.Conn != nil {
		s.Conn.Close()
	}
	s.Relay.Close()
	s.Process.Stop()
	os.RemoveAll(s.folder)
}

// Put gives a node data, and makes it and those above it if they are not there.
func (s *Server) Put(path, data string) error {
	for i := range path[1:] {
		if path[1+i] == '/' {
			if _, err := s.Conn.Create(path[:1+i], nil, 0, zk.WorldACL(zk.PermAll)); err != nil && !errors.Is(err, zk.ErrNodeExists) {
				return err
			}
		}
	}
	_, err := s.Conn.Create(path, []byte(data), 0, zk.WorldACL(zk.PermAll))
	if errors.Is(err, zk.ErrNodeExists) {
		_, err = s.Conn.Set(path, []byte(data), -1)
	}
	return err
}

// Set makes these the endpoints of a service below /services.
func (s *Server) Set(list []lb.Endpoint) error {
	const prefix = "/services/"
	keep := make(map[string]bool)
	for _, e := range list {
		path := prefix + discover.FormatKey(discover.Entry{Name: "shop", Version: "v1", Endpoint: e})
		keep[path] = true
		if err := s.Put(path, string(discover.FormatEndpoint(e))); err != nil {
			return err
		}
	}
	names, _, err := s.Conn.Children(prefix + "shop/v1")
	for _, name := range names {
		if path := prefix + "shop/v1/" + name; !keep[path] {
			err = errors.Join(err, s.Conn.Delete(path, -1))
		}
	}
	return err
}

// Place returns what the scheme follows.
func (s *Server) Place(scheme discover.Scheme) discovertest.Place {
	return discovertest.Place{
		URL:     func(string) string { return "zookeeper://" + s.Addr + "/services/shop/v1" },
		Schemes: []discover.Scheme{scheme},
		Set:     s.Set,
		Stop:    s.Process.Stop,
		Start:   s.Process.Start,
		Cut:     s.Cut,
		Break:   func() error { s.Break(true); return nil },
		Mend:    func() error { s.Break(false); return nil },
		Documents: &discovertest.Documents{
			URL: "zookeeper://" + s.Addr + "/weir/config",
			Put: func(text string) error { return s.Put("/weir/config", text) },
		},
	}
}
