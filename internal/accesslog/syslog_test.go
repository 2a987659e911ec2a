package accesslog_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"weir/config"
	"weir/internal/accesslog"
)

// message is what a line becomes: facility local0 (16), severity 6.
var message = regexp.MustCompile(`^<134>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \S+ weir ` + fmt.Sprint(os.Getpid()) + ` access - (.*)$`)

func startSyslog(t *testing.T, output string) *accesslog.Logger {
	t.Helper()
	l, err := accesslog.New(config.AccessLog{Output: output, Format: "{status}", Facility: "local0"}, accesslog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func sent(t *testing.T, got, want string) {
	t.Helper()
	if m := message.FindStringSubmatch(got); m == nil || m[1] != want {
		t.Errorf("got %q, want %s", got, want)
	}
}

// short is a path that fits into a socket's address.
func short(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "weir")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	return filepath.Join(folder, "log")
}

func TestSyslogDatagrams(t *testing.T) {
	socket := short(t)
	local, err := net.ListenPacket("unixgram", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer local.Close()
	remote, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer remote.Close()
	for output, server := range map[string]net.PacketConn{"syslog:" + socket: local, "syslog:udp://" + remote.LocalAddr().String(): remote} {
		l := startSyslog(t, output)
		l.Log(&accesslog.Record{Status: 200})
		l.Log(&accesslog.Record{Status: 404})
		for _, want := range []string{"200", "404"} {
			buf := make([]byte, 4096)
			n, _, err := server.ReadFrom(buf)
			if err != nil {
				t.Fatal(err)
			}
			sent(t, string(buf[:n]), want)
		}
		stop(t, l)
		if l.Written() != 2 || l.Dropped() != 0 {
			t.Errorf("%s: written %d, dropped %d", output, l.Written(), l.Dropped())
		}
	}
}

// TestSyslogTooLong: a line that no datagram can carry is cut, and the next one arrives.
func TestSyslogTooLong(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	l, err := accesslog.New(config.AccessLog{
		Output: "syslog:udp://" + server.LocalAddr().String(), Format: "{request_target}", Facility: "local0",
	}, accesslog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	l.Log(&accesslog.Record{RequestTarget: []byte(strings.Repeat("a", 70_000))})
	l.Log(&accesslog.Record{RequestTarget: []byte("next")})
	buf := make([]byte, 1<<17)
	n, _, err := server.ReadFrom(buf)
	if err != nil || n != 2048 || !strings.HasSuffix(string(buf[:n]), "aaa") {
		t.Errorf("the first message has %d bytes, %v", n, err)
	}
	if n, _, err = server.ReadFrom(buf); err != nil {
		t.Fatal(err)
	}
	sent(t, string(buf[:n]), "next")
	stop(t, l)
}

// readMessage reads a message that begins with its length.
func readMessage(t *testing.T, r *bufio.Reader) string {
	t.Helper()
	var length int
	if _, err := fmt.Fscanf(r, "%d ", &length); err != nil {
		t.Fatal(err)
	}
	text := make([]byte, length)
	if _, err := io.ReadFull(r, text); err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestSyslogStream: over TCP, and over a stream socket whose server starts after weir.
func TestSyslogStream(t *testing.T) {
	socket := short(t)
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	l := startSyslog(t, "syslog:tcp://"+tcp.Addr().String())
	late := startSyslog(t, "syslog:"+socket)
	for _, log := range []*accesslog.Logger{l, late} {
		log.Log(&accesslog.Record{Status: 200})
		log.Log(&accesslog.Record{Status: 404})
	}
	unix, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close()
	for log, server := range map[*accesslog.Logger]net.Listener{l: tcp, late: unix} {
		c, err := server.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		r := bufio.NewReader(c)
		sent(t, readMessage(t, r), "200")
		sent(t, readMessage(t, r), "404")
		stop(t, log)
	}
}

// TestSyslogGone: a server that is not there costs lines, not time, and is told of.
func TestSyslogGone(t *testing.T) {
	var told error
	l, err := accesslog.New(config.AccessLog{Output: "syslog:" + short(t), Format: "json", Facility: "local7"}, accesslog.Options{OnError: func(err error) { told = err }})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	l.Log(&accesslog.Record{})
	stop(t, l)
	if l.Dropped() != 1 || told == nil || !strings.Contains(told.Error(), "no such file") {
		t.Errorf("dropped %d, told %v", l.Dropped(), told)
	}
	if waited := time.Since(begin); waited > 10*time.Second {
		t.Errorf("Close took %s", waited)
	}
}

func TestSyslogOutputs(t *testing.T) {
	check := func(output, want string) {
		t.Helper()
		problems := config.Errors(accesslog.Check(&config.AccessLog{Output: output, Format: "json"}))
		if err := problems.Err(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", output, err, want)
		}
	}
	check("syslog:/dev/log", "")
	check("syslog:udp://localhost:514", "")
	check("syslog:tcp://[::1]:601", "")
	const want = `want "syslog:/dev/log" or another socket`
	for _, output := range []string{"syslog", "syslog:", "syslog:dev", "syslog:udp://host", "syslog:udp://:514", "syslog:tls://host:6514", "syslog:tcp://host:0"} {
		check(output, want)
	}
	check("syslogs", `want "stdout"`)
}
