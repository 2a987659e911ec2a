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
// and a second file beside it, FILE.reload, with the verdict on the last SIGHUP.
// The lock distinguishes a running weir from a file that a crash left over, whose
// process id may belong to another process by now. A nil pidFile does nothing.
type pidFile struct {
	file    *os.File
	reloads int // since the start
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

// write puts the process id into the file: from now on weir reload finds it.
func (p *pidFile) write(pid int) error {
	if p == nil {
		return nil
	}
	if err := p.writeVerdict(verdictOK); err != nil {
		return err
	}
	if _, err := p.file.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0); err != nil {
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

// writeVerdict replaces the verdict's file, so that no reader sees half of it.
func (p *pidFile) writeVerdict(text string) error {
	path := verdictPath(p.file.Name())
	if err := os.WriteFile(path+".new", fmt.Appendf(nil, "%d %s\n", p.reloads, text), 0o644); err != nil {
		return fmt.Errorf("cannot tell the verdict of a reload: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("cannot tell the verdict of a reload: %w", err)
	}
	return nil
}

// close empties the file and unlocks it. The file stays: another weir may be
// about to lock it.
func (p *pidFile) close() {
	if p == nil {
		return
	}
	// Their errors do not matter: without the lock the content has no meaning.
	_ = p.file.Truncate(0)
	_ = os.Remove(verdictPath(p.file.Name()))
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
