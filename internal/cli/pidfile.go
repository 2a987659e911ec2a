package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// How a verdict begins.
const (
	verdictOK     = "ok"
	verdictFailed = "failed\n" // and the error
)

// pidFile is the file that a running weir keeps locked, with its process id,
// and two files beside it, FILE.reload with the verdict on the last SIGHUP and FILE.upgrade with
// that on the last SIGUSR2.
// The lock distinguishes a running weir from a file that a crash left over, whose
// process id may belong to another process by now. A nil pidFile does nothing.
type pidFile struct {
	file    *os.File
	reloads int // since the start
	// left says that the file is another process's, which has a copy of its descriptor.
	left bool
}

// lockPIDFile locks the file at path for this process; an empty path means no
// file. The file stays empty until write.
func lockPIDFile(path string) (*pidFile, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("cannot open pid file %q: %w", path, err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, fmt.Errorf("cannot lock pid file %q: another weir runs with it", path)
		}
		return nil, fmt.Errorf("cannot lock pid file %q: %w", path, err)
	}
	if err := f.Truncate(0); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot write pid file %q: %w", path, err)
	}
	return &pidFile{file: f}, nil
}

// leave leaves the file, and its lock, to the process that has a copy of its descriptor.
func (p *pidFile) leave() {
	if p != nil {
		p.left = true
		p.file.Close()
	}
}

// write puts the process id into the file, which is this process's: from now on weir reload
// finds it.
func (p *pidFile) write(pid int) error {
	if p == nil {
		return nil
	}
	p.left = false
	if err := p.writeVerdict(verdictOK); err != nil {
		return err
	}
	text := []byte(strconv.Itoa(pid) + "\n")
	_, err := p.file.WriteAt(text, 0)
	if err == nil {
		err = p.file.Truncate(int64(len(text))) // that of the process before this one may be longer
	}
	if err != nil {
		return fmt.Errorf("cannot write pid file %q: %w", p.file.Name(), err)
	}
	return nil
}

// verdict tells each weir reload that waits what became of a reload; nil means
// that it worked.
func (p *pidFile) verdict(reload error) error {
	if p == nil {
		return nil
	}
	p.reloads++
	if reload != nil {
		return p.writeVerdict(verdictFailed + reload.Error())
	}
	return p.writeVerdict(verdictOK)
}

func (p *pidFile) writeVerdict(text string) error {
	return replaceFile(verdictPath(p.file.Name()), fmt.Sprintf("%d %s\n", p.reloads, text))
}

// replaceFile writes a file that tells a verdict, so that no reader sees half of it.
func replaceFile(path, text string) error {
	err := os.WriteFile(path+".new", []byte(text), 0o644)
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("cannot tell a verdict: %w", err)
	}
	return nil
}

// upgradeState is how far an upgrade has come.
type upgradeState string

const (
	upgradeRuns   upgradeState = "running"
	upgradeDone   upgradeState = "done"   // the text is the id of the new process
	upgradeFailed upgradeState = "failed" // the text is why
)

// upgradeVerdict is what the file FILE.upgrade says: attempt, state and text, with a space
// between them.
type upgradeVerdict struct {
	attempt string // the process that is or was replaced, and the number of its attempt
	state   upgradeState
	text    string
}

// upgrade tells each weir upgrade that waits what becomes of an attempt.
func (p *pidFile) upgrade(v upgradeVerdict) error {
	if p == nil {
		return nil
	}
	return replaceFile(upgradePath(p.file.Name()), fmt.Sprintf("%s %s %s\n", v.attempt, v.state, v.text))
}

// readUpgrade returns what was told last; the zero verdict if there was no upgrade.
func readUpgrade(pidFile string) (v upgradeVerdict, err error) {
	text, err := os.ReadFile(upgradePath(pidFile))
	if errors.Is(err, fs.ErrNotExist) {
		return v, nil
	}
	if err != nil {
		return v, fmt.Errorf("cannot read the verdict of upgrades: %w", err)
	}
	attempt, rest, _ := strings.Cut(strings.TrimSuffix(string(text), "\n"), " ")
	state, reason, _ := strings.Cut(rest, " ")
	return upgradeVerdict{attempt, upgradeState(state), reason}, nil
}

func upgradePath(pidFile string) string { return pidFile + ".upgrade" }

// close empties the file and unlocks it. The file stays: another weir may be
// about to lock it.
func (p *pidFile) close() {
	if p == nil || p.left { // its descriptor ends with the process
		return
	}
	// Their errors do not matter: without the lock the content has no meaning.
	_ = p.file.Truncate(0)
	_ = os.Remove(verdictPath(p.file.Name()))
	_ = os.Remove(upgradePath(p.file.Name()))
	p.file.Close()
}

func verdictPath(pidFile string) string { return pidFile + ".reload" }

// runningPID returns the process id of the weir that keeps the file locked.
func runningPID(path string) (int, error) {
	f, err := os.Open(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("no weir runs with pid file %q", path)
		}
		return 0, fmt.Errorf("cannot open pid file %q: %w", path, err)
	}
	defer f.Close() // unlocks
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB); {
	case err == nil:
		return 0, fmt.Errorf("no weir runs with pid file %q", path)
	case !errors.Is(err, unix.EWOULDBLOCK):
		return 0, fmt.Errorf("cannot look at the lock of pid file %q: %w", path, err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, fmt.Errorf("cannot read pid file %q: %w", path, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return 0, fmt.Errorf("pid file %q holds no process id: weir is starting or stopping", path)
	}
	return pid, nil
}

// readVerdict returns the number of reloads so far and the verdict on the last
// of them.
func readVerdict(pidFile string) (reloads int, verdict string, err error) {
	path := verdictPath(pidFile)
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, "", fmt.Errorf("cannot read the verdict of reloads: %w", err)
	}
	number, verdict, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	if reloads, err = strconv.Atoi(number); err != nil {
		return 0, "", fmt.Errorf("cannot read the verdict of reloads in %q: found %q", path, text)
	}
	return reloads, verdict, nil
}
