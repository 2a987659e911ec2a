package packages_test

import (
	"bytes"
	"context"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"weir/internal/testkit"
)

// machine is a container that systemd has booted. It sees the files of this machine and keeps what it
// changes of them to itself, and it has no network but its own loopback.
type machine struct {
	leader string // the id of its process 1
	// shared is a folder of this machine that the container has as /shared.
	shared string
}

// bootScript prepares the root of the container, in a mount namespace of its own, and boots it. Services
// that this machine has enabled stay off. The container gets a control group of its own.
const bootScript = `
set -e
mount -t tmpfs tmpfs "$ROOT"
mkdir "$ROOT"/changes "$ROOT"/work "$ROOT"/root
mount -t overlay overlay -o "lowerdir=/,upperdir=$ROOT/changes,workdir=$ROOT/work" "$ROOT"/root
cd "$ROOT"/root
rm -rf etc/systemd/system/* etc/rc?.d etc/init.d/* usr/sbin/policy-rc.d var/lib/systemd/deb-systemd-helper-enabled var/log/journal
rm -f var/lib/man-db/auto-update # no index of all manual pages for each package
: >etc/machine-id
: >etc/fstab
ln -s /lib/systemd/system/multi-user.target etc/systemd/system/default.target
for unit in systemd-logind systemd-resolved systemd-networkd systemd-timesyncd systemd-tmpfiles-setup systemd-firstboot \
	systemd-update-utmp systemd-journal-catalog-update systemd-binfmt console-getty; do
	ln -s /dev/null "etc/systemd/system/$unit.service"
done
for group in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified /sys/fs/cgroup; do
	if [ -e $group/cgroup.procs ] && mkdir $group/$NAME; then echo $$ >$group/$NAME/cgroup.procs; fi
done
exec systemd-nspawn --quiet --directory="$ROOT/root" --boot --register=no --keep-unit --private-network --machine=$NAME \
	--bind="$SHARED:/shared" --link-journal=no --notify-ready=yes --console=pipe --setenv=SYSTEMD_COLORS=0
`

// boot boots a machine, which ends with the test.
func boot(t *testing.T) *machine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can boot a machine")
	}
	testkit.Programs(t, "systemd-nspawn", "unshare", "nsenter", "curl", "dpkg")
	m := &machine{shared: t.TempDir()}
	name := "weir-" + strings.ToLower(strings.NewReplacer("/", "", "_", "").Replace(filepath.Base(filepath.Dir(m.shared))))
	told, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(m.shared, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", bootScript)
	cmd.Env = append(os.Environ(), "ROOT="+t.TempDir(), "SHARED="+m.shared, "NAME="+name, "NOTIFY_SOCKET="+told.LocalAddr().String())
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // also if the tests are killed
	var console bytes.Buffer
	cmd.Stdout, cmd.Stderr = &console, &console
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		told.Close()
	}()
	t.Cleanup(func() {
		if m.leader != "" {
			exec.Command("kill", "-KILL", m.leader).Run() // the rest of the container ends with it
		}
		select {
		case <-ended:
		case <-time.After(time.Minute):
			cmd.Process.Kill()
			<-ended
		}
		for _, group := range []string{"systemd/", "unified/", ""} {
			removeGroups("/sys/fs/cgroup/" + group + name)
		}
		if t.Failed() {
			t.Logf("the console:\n%s", console.String())
		}
	})
	begun := time.Now()
	m.awaitReady(t, told)
	// What nobody reads would make the machine wait.
	told.SetReadDeadline(time.Time{})
	go io.Copy(io.Discard, told)
	t.Logf("booting took %v", time.Since(begun).Round(10*time.Millisecond))
	return m
}

// awaitReady returns when the container's systemd says that it has booted.
func (m *machine) awaitReady(t *testing.T, told *net.UnixConn) {
	t.Helper()
	leader := regexp.MustCompile(`(?m)^X_NSPAWN_LEADER_PID=(\d+)$`)
	told.SetReadDeadline(time.Now().Add(2 * time.Minute))
	for text := make([]byte, 4096); ; {
		n, err := told.Read(text)
		if err != nil {
			t.Fatalf("the machine does not boot: %v", err)
		}
		if found := leader.FindSubmatch(text[:n]); found != nil {
			m.leader = string(found[1])
		}
		if m.leader != "" && strings.Contains("\n"+string(text[:n]), "\nREADY=1") {
			return
		}
	}
}

// removeGroups removes a control group and those below it.
func removeGroups(folder string) {
	filepath.WalkDir(folder, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && path != folder {
			removeGroups(path)
			return filepath.SkipDir
		}
		return nil
	})
	os.Remove(folder)
}

// try runs shell commands on the machine and returns what they say.
func (m *machine) try(ctx context.Context, commands string) (string, error) {
	cmd := exec.CommandContext(ctx, "nsenter", "--target", m.leader, "--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--wdns=/",
		"env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "DEBIAN_FRONTEND=noninteractive", "sh", "-ec", commands)
	out, err := cmd.CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// run runs shell commands that have to work.
func (m *machine) run(t *testing.T, commands string) string {
	t.Helper()
	out, err := m.try(t.Context(), commands)
	if err != nil {
		journal, _ := m.try(context.Background(), "journalctl --no-pager -n 40 -u weir.service -u weir.socket")
		t.Fatalf("%s\n%v\n%s\nthe journal:\n%s", commands, err, out, journal)
	}
	return out
}

// fails runs shell commands that must not work, and returns what they say.
func (m *machine) fails(t *testing.T, commands string) string {
	t.Helper()
	out, err := m.try(t.Context(), commands)
	if err == nil {
		t.Errorf("%s\nworked, and said %s", commands, out)
	}
	return out
}

// is checks what shell commands say.
func (m *machine) is(t *testing.T, commands, want string) {
	t.Helper()
	if got := m.run(t, commands); got != want {
		t.Errorf("%s\nsays %q, want %q", commands, got, want)
	}
}
