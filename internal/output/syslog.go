package output

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"weir/config"
)

const (
	// syslogWait bounds one dial and one write.
	syslogWait = time.Second
	// syslogTries is how often a batch is sent before its lines are dropped, with
	// syslogPause between them: a server that starts again loses nothing.
	syslogTries = 8
	syslogPause = 250 * time.Millisecond
	// syslogShort is the length to which a message is cut that is too long for a datagram,
	// which all servers take (RFC 5424 section 6.1).
	syslogShort = 2048
)

const wantSyslog = `"syslog:/dev/log" or another socket, "syslog:udp://host:514" or "syslog:tcp://host:601"`

// syslogAddress is where a syslog server listens.
type syslogAddress struct{ network, address string }

// parseSyslog reads an output such as "syslog:udp://host:514". It says whether output starts
// with "syslog", and want is what is allowed if the rest is wrong.
func parseSyslog(output string) (a syslogAddress, is bool, want string) {
	rest, is := strings.CutPrefix(output, "syslog")
	if !is || rest != "" && rest[0] != ':' {
		return a, false, ""
	}
	rest = strings.TrimPrefix(rest, ":")
	network, address, remote := strings.Cut(rest, "://")
	switch {
	case strings.HasPrefix(rest, "/"):
		return syslogAddress{"unix", rest}, true, ""
	case remote && (network == "udp" || network == "tcp"):
		if host, port, err := net.SplitHostPort(address); err == nil && host != "" {
			if n, err := strconv.ParseUint(port, 10, 16); err == nil && n > 0 {
				return syslogAddress{network, address}, true, ""
			}
		}
	}
	return a, true, wantSyslog
}

// syslog sends lines as messages of RFC 5424. Its Write takes whole lines; after an error the
// lines up to the count that it returns have left. It belongs to the goroutine that
// writes.
type syslog struct {
	to       syslogAddress
	facility int
	rest     string          // of a message, after its time
	stop     <-chan struct{} // no more tries once it is closed
	conn     net.Conn        // nil without a connection
	stream   bool            // conn is one: each message begins with its length (RFC 6587 section 3.4.1)
	buf      []byte
}

func newSyslog(to syslogAddress, facility, tag string, stop <-chan struct{}) *syslog {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "-"
	}
	return &syslog{
		to:       to,
		facility: slices.Index(config.SyslogFacilities(), facility),
		rest:     fmt.Sprintf(" %s weir %d %s - ", host, os.Getpid(), tag),
		stop:     stop,
	}
}

// Write sends lines, each with its line feed.
func (s *syslog) Write(lines []byte) (sent int, err error) {
	for try := range syslogTries {
		if try > 0 && !s.pause() {
			break
		}
		var n int
		if n, err = s.send(lines[sent:]); err == nil {
			return len(lines), nil
		}
		sent += n
		s.close()
	}
	return sent, err
}

// pause waits before the next try; it says whether there is to be one.
func (s *syslog) pause() bool {
	t := time.NewTimer(syslogPause)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.stop:
		return false
	}
}

// send is one try. It returns how much of lines has left.
func (s *syslog) send(lines []byte) (sent int, err error) {
	if err := s.connect(); err != nil {
		return 0, err
	}
	for len(lines[sent:]) > 0 {
		end := bytes.IndexByte(lines[sent:], '\n')
		if err := s.message(lines[sent : sent+end]); err != nil {
			return sent, err
		}
		sent += end + 1
	}
	return sent, nil
}

// message sends one line.
func (s *syslog) message(line []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(syslogWait)); err != nil {
		return err
	}
	severity, line := cutSeverity(line)
	b := append(s.buf[:0], '<')
	b = append(strconv.AppendInt(b, int64(s.facility*8+severity), 10), ">1 "...)
	b = time.Now().UTC().AppendFormat(b, "2006-01-02T15:04:05.000000Z07:00")
	b = append(append(b, s.rest...), line...)
	if s.stream {
		b = slices.Insert(b, 0, []byte(strconv.Itoa(len(b))+" ")...)
	}
	s.buf = b
	_, err := s.conn.Write(b)
	if errors.Is(err, unix.EMSGSIZE) && len(b) > syslogShort {
		_, err = s.conn.Write(b[:syslogShort])
	}
	return err
}

// cutSeverity returns the severity of a line and the line without it: see Lines.Add.
func cutSeverity(line []byte) (severity int, rest []byte) {
	if len(line) > 2 && line[0] == '<' && '0' <= line[1] && line[1] <= '7' && line[2] == '>' {
		return int(line[1] - '0'), line[3:]
	}
	const informational = 6
	return informational, line
}

// connect makes a connection if there is none. A socket of the file system takes datagrams,
// else a stream.
func (s *syslog) connect() error {
	if s.conn != nil {
		return nil
	}
	networks := []string{s.to.network}
	if s.to.network == "unix" {
		networks = []string{"unixgram", "unix"}
	}
	ctx, cancel := context.WithTimeout(context.Background(), syslogWait)
	defer cancel()
	var err error
	for _, network := range networks {
		if s.conn, err = new(net.Dialer).DialContext(ctx, network, s.to.address); err == nil {
			s.stream = network == "tcp" || network == "unix"
			return nil
		}
		s.conn = nil
	}
	return err
}

func (s *syslog) close() {
	if s.conn != nil {
		s.conn.Close()
		s.conn = nil
	}
}
