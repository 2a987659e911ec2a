package packages_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"weir/internal/testkit"
)

// configure puts a configuration and a drop-in of the unit into force by a restart.
func (m *machine) configure(t *testing.T, configuration, dropIn string) {
	t.Helper()
	m.run(t, `mkdir -p /etc/systemd/system/weir.service.d
cat > /etc/weir/config.toml <<'END'
`+configuration+`
END
printf '[Service]\n`+dropIn+`\n' > /etc/systemd/system/weir.service.d/test.conf
systemctl daemon-reload && systemctl restart weir`)
}

// fixed is a configuration whose listener answers by itself.
func fixed(address, answer string) string {
	return fmt.Sprintf("[[listeners]]\naddress = %q\n[[routes]]\nname = \"fixed\"\nrespond.status = 200\nrespond.body = %q", address, answer)
}

// clients send requests to a URL, one after the other, until the returned function says how many there were,
// and what curl said of those that failed.
func (m *machine) clients(t *testing.T, url string) (stop func() (asked int, failed string)) {
	t.Helper()
	m.run(t, `rm -f /tmp/asked /tmp/failed /tmp/enough /tmp/over
cat > /tmp/clients <<'END'
while [ ! -e /tmp/enough ]; do
	echo >> /tmp/asked
	curl -fsS -m 60 -o /dev/null "$1" 2>> /tmp/failed || true
done
touch /tmp/over
END
touch /tmp/failed
sh /tmp/clients `+url+` > /dev/null 2>&1 &
while [ ! -s /tmp/asked ]; do sleep 0.01; done`)
	return func() (int, string) {
		t.Helper()
		asked, err := strconv.Atoi(m.run(t, "touch /tmp/enough; while [ ! -e /tmp/over ]; do sleep 0.01; done; wc -l < /tmp/asked"))
		if err != nil {
			t.Fatal(err)
		}
		return asked, m.run(t, "cat /tmp/failed")
	}
}

// verified: systemd finds nothing to complain of in the units, and the exposure that
// docs/service.md states is what it finds.
func (m *machine) verified(t *testing.T) {
	m.is(t, "systemd-analyze verify /lib/systemd/system/weir.service /lib/systemd/system/weir.socket 2>&1", "")
	text, err := os.ReadFile("../../docs/service.md")
	if err != nil {
		t.Fatal(err)
	}
	stated := regexp.MustCompile(`exposure level (\d\.\d)`).FindSubmatch(text)
	found := regexp.MustCompile(`exposure level for weir.service: (\d\.\d)`).FindStringSubmatch(m.run(t, "systemd-analyze security weir.service --no-pager"))
	if stated == nil || found == nil || string(stated[1]) != found[1] {
		t.Errorf("docs/service.md states %q, systemd finds %q", stated, found)
	}
}

// sockets: units of sockets with several names, which stay open over a restart.
func (m *machine) sockets(t *testing.T) {
	m.run(t, `cd /lib/systemd/system
sed -e 's/=80$/=127.0.0.1:80/' weir.socket > /etc/systemd/system/weir.socket
sed -e 's/=80$/=127.0.0.1:81\nListenStream=127.0.0.1:82/' -e 's/=http$/=more/' weir.socket > /etc/systemd/system/weir-more.socket
systemctl daemon-reload`)
	m.run(t, "systemctl stop weir && systemctl start weir.socket weir-more.socket")
	m.configure(t, fixed("systemd:http", "one")+`
listener = ["systemd:http"]
[[listeners]]
address = "systemd:more"
[[routes]]
name = "more"
listener = ["systemd:more"]
respond.status = 200
respond.body = "more"`, "")
	m.is(t, "for port in 80 81 82; do curl -fsS http://127.0.0.1:$port/; echo; done", "one\nmore\nmore")
	stop := m.clients(t, "http://127.0.0.1:81/")
	m.run(t, "systemctl restart weir")
	if asked, failed := stop(); failed != "" {
		t.Errorf("of %d requests over a restart failed: %s", asked, failed)
	}
	m.run(t, "systemctl stop weir weir.socket weir-more.socket; rm /etc/systemd/system/weir*.socket; systemctl daemon-reload")
}

// store: sockets that weir opened stay open over a restart and a crash, and no longer than they are used.
func (m *machine) store(t *testing.T) {
	const url = "http://127.0.0.1:8080/"
	m.configure(t, fixed("127.0.0.1:8080", "stored")+"\n[[listeners]]\naddress = \"127.0.0.1:8081\"", "")
	m.is(t, "systemctl show -P NFileDescriptorStore weir", "2")
	stop := m.clients(t, url)
	m.run(t, "systemctl restart weir; systemctl restart weir")
	if asked, failed := stop(); failed != "" {
		t.Errorf("of %d requests over two restarts failed: %s", asked, failed)
	} else {
		t.Logf("%d requests over two restarts, none failed", asked)
	}
	m.is(t, "systemctl show -P NFileDescriptorStore weir", "2")

	// A crash cuts the exchange that runs, and refuses no one.
	stop = m.clients(t, url)
	m.run(t, "kill -KILL $(systemctl show -P MainPID weir)")
	m.restarted(t)
	if asked, failed := stop(); strings.Contains(failed, "Failed to connect") || strings.Contains(failed, "refused") {
		t.Errorf("of %d requests over a crash failed: %s", asked, failed)
	}

	// weir upgrade goes on with the sockets, and so does what follows it.
	m.run(t, "weir upgrade --pid-file /run/weir/weir.pid && systemctl restart weir && curl -fsS "+url)
	m.is(t, "systemctl show -P NFileDescriptorStore weir", "2")

	// A listener that is no more is closed, after a reload and after a restart.
	m.run(t, "sed -i 's/:8081/:8082/' /etc/weir/config.toml && systemctl reload weir && curl -sS -o /dev/null http://127.0.0.1:8082/")
	m.fails(t, "curl -sS http://127.0.0.1:8081/")
	m.run(t, "sed -i 's/:8082/:8083/' /etc/weir/config.toml && systemctl restart weir && curl -sS -o /dev/null http://127.0.0.1:8083/")
	m.fails(t, "curl -sS http://127.0.0.1:8082/")
	m.is(t, "systemctl show -P NFileDescriptorStore weir", "2")
	m.run(t, "systemctl stop weir")
	m.fails(t, "curl -sS "+url)
}

// restarted waits until systemd has restarted the service by itself, and it is up.
func (m *machine) restarted(t *testing.T) {
	t.Helper()
	testkit.Eventually(t, "weir is restarted", func() bool {
		_, err := m.try(t.Context(), `[ "$(systemctl show -P NRestarts weir)" -ge 1 ] && systemctl is-active weir`)
		return err == nil
	})
}

// credentials: tokens and keys that the user of the service cannot read as files.
func (m *machine) credentials(t *testing.T) {
	m.run(t, `install -m 700 -d /root/secrets && cd /root/secrets && printf 'a-token-of-thirty-two-characters!' > token
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 2>/dev/null`)
	m.configure(t, `[[listeners]]
address = "127.0.0.1:8443"
[[listeners.certificates]]
cert = "${CREDENTIALS_DIRECTORY}/cert"
key = "${CREDENTIALS_DIRECTORY}/key"
[admin]
address = "127.0.0.1:9091"
[[admin.tokens]]
name = "ops"
credential = "weir-admin"
role = "write"
[[routes]]
name = "fixed"
respond.status = 200
respond.body = "secret"`,
		`LoadCredential=weir-admin:/root/secrets/token\nLoadCredential=key:/root/secrets/key.pem\nLoadCredential=cert:/root/secrets/cert.pem`)
	m.is(t, "curl -fsS --cacert /root/secrets/cert.pem https://127.0.0.1:8443/", "secret")
	m.run(t, `curl -fsS -H "Authorization: Bearer $(cat /root/secrets/token)" http://127.0.0.1:9091/upstreams`)
	m.fails(t, "curl -fsS http://127.0.0.1:9091/upstreams")
	m.run(t, "systemctl stop weir")
}

// watchdog: systemd starts a weir again that gives no sign of life. Package listener tests that none comes from one
// whose accept loop stands still.
func (m *machine) watchdog(t *testing.T) {
	m.configure(t, fixed("127.0.0.1:8080", "watched"), "WatchdogSec=5s")
	m.run(t, "kill -STOP $(systemctl show -P MainPID weir)")
	m.restarted(t)
	m.is(t, "curl -fsS http://127.0.0.1:8080/", "watched")
	m.run(t, "journalctl --no-pager -u weir | grep -q 'Watchdog timeout'")
	m.run(t, "systemctl stop weir; rm /etc/systemd/system/weir.service.d/test.conf; systemctl daemon-reload")
}
