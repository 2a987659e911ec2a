package packages_test

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// give copies a file to the machine, as /shared/NAME.
func (m *machine) give(t *testing.T, path, name string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "cp", path, filepath.Join(m.shared, name)).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
}

// TestInstalled is the life of the package on a machine: installed, running, configured, upgraded under
// load, removed, purged.
func TestInstalled(t *testing.T) {
	t.Parallel()
	m := boot(t)
	folder := t.TempDir()
	release(t, folder, later)
	for _, kind := range []string{".deb", ".rpm"} {
		m.give(t, built(t, kind), "weir"+kind)
		m.give(t, fileOf(t, folder, kind), "weir-later"+kind)
	}
	begun := time.Now()
	took := func(what string) {
		t.Logf("%s took %v", what, time.Since(begun).Round(10*time.Millisecond))
		begun = time.Now()
	}

	m.run(t, "dpkg -i /shared/weir.deb")
	took("installing")
	m.is(t, "systemctl is-active weir; systemctl is-enabled weir", "active\nenabled")
	m.run(t, "curl -fsS -o /dev/null http://127.0.0.1:8080/")
	m.is(t, "weir version | cut -d' ' -f2", version)
	m.is(t, "stat -c '%U:%G %a' /etc/weir/config.toml /var/lib/weir", "root:weir 640\nweir:weir 755")
	m.is(t, "ps -o user= -p $(systemctl show -P MainPID weir)", "weir")
	m.run(t, "logrotate --debug /etc/logrotate.d/weir")
	m.run(t, `man --where weir
		bash -n /usr/share/bash-completion/completions/weir
		zsh -n /usr/share/zsh/vendor-completions/_weir
		fish -n /usr/share/fish/vendor_completions.d/weir.fish`)

	t.Run("reload", m.reload)

	begun = time.Now()
	m.upgrade(t, "dpkg -i /shared/weir-later.deb")
	took("upgrading under load")
	m.is(t, "curl -fsS http://127.0.0.1:8080/added", "added") // what the administrator wrote

	m.run(t, "cp -p /etc/weir/config.toml /tmp/config.toml")
	t.Run("units", m.verified)
	t.Run("sockets", m.sockets)
	t.Run("store", m.store)
	t.Run("credentials", m.credentials)
	t.Run("watchdog", m.watchdog)
	m.run(t, "cp -p /tmp/config.toml /etc/weir/ && systemctl start weir")

	begun = time.Now()
	m.run(t, "dpkg --remove weir")
	took("removing")
	m.fails(t, "systemctl is-active weir")
	m.run(t, "test -e /etc/weir/config.toml && ! test -e /usr/bin/weir")
	m.run(t, "dpkg --purge weir")
	took("purging")
	m.fails(t, "ls -d /etc/weir /var/lib/weir /var/log/weir /etc/logrotate.d/weir 2>/dev/null")
	m.fails(t, "systemctl cat weir")

	t.Run("rpm", m.rpm)
}

// rpm does with the other package what can be done where the system's own packages are of another kind.
func (m *machine) rpm(t *testing.T) {
	const rpm = "rpm --force-debian --nodeps "
	m.run(t, rpm+"--install /shared/weir.rpm")
	m.fails(t, "systemctl is-active weir")
	m.is(t, "stat -c '%U:%G %a' /etc/weir/config.toml", "root:weir 640")
	m.run(t, "systemctl start weir && echo '# mine' >> /etc/weir/config.toml")
	m.upgrade(t, rpm+"--upgrade /shared/weir-later.rpm")
	m.is(t, "tail -n 1 /etc/weir/config.toml", "# mine")
	m.run(t, rpm+"--erase weir && tail -n 1 /etc/weir/config.toml.rpmsave")
	m.fails(t, "systemctl is-active weir")
	m.fails(t, "ls /usr/bin/weir 2>/dev/null")
}

// reload changes the configuration, for the better and for the worse.
func (m *machine) reload(t *testing.T) {
	m.run(t, `printf '\n[[routes]]\nname = "added"\npath = "/added"\nrespond.status = 200\nrespond.body = "added"\n' >> /etc/weir/config.toml
		weir check --config /etc/weir/config.toml && systemctl reload weir`)
	m.is(t, "curl -fsS http://127.0.0.1:8080/added", "added")
	m.run(t, "echo nonsense >> /etc/weir/config.toml")
	m.fails(t, "systemctl reload weir")
	m.is(t, "curl -fsS http://127.0.0.1:8080/added; systemctl is-active weir", "addedactive")
	m.run(t, "journalctl --no-pager -u weir -p err | grep -q 'reload failed'") // each line has its priority
	m.run(t, "sed -i '/^nonsense/d' /etc/weir/config.toml && systemctl reload weir")
}

// upgrade installs the later version by a command while requests come.
func (m *machine) upgrade(t *testing.T, command string) {
	t.Helper()
	before := m.run(t, "systemctl show -P MainPID weir")
	stop := m.clients(t, "http://127.0.0.1:8080/")
	m.run(t, command)
	asked, failed := stop()
	if failed != "" {
		t.Errorf("of %d requests over the upgrade failed: %s", asked, failed)
	}
	t.Logf("%d requests over the upgrade, none failed", asked)
	m.is(t, "systemctl is-active weir; systemctl show -P NRestarts weir", "active\n0")
	after := m.run(t, "systemctl show -P MainPID weir")
	if after == before {
		t.Errorf("process %s goes on", before)
	}
	m.is(t, "readlink /proc/"+after+"/exe; weir version | cut -d' ' -f2", "/usr/bin/weir\n"+later)
}
