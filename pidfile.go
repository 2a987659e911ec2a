package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v3"
	"golang.org/x/sys/unix"
)

// pidFile is the file that a running weir keeps locked, with its process id,
// and a second one beside it, FILE.reload, with the verdict on the last SIGHUP.
// The lock tells a running weir from a file that a crash left behind, whose
// process id may belong to somebody else by now. A nil pidFile does nothing.
type pidFile struct {
	file    *os.File
	reloads int // since the start
}

// lockPIDFile takes the file for this process; an empty path means none. The
// file stays empty until write.
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

// write says that the process is ready for signals.
func (p *pidFile) write(pid int) error {
	if p == nil {
		return nil
	}
	if err := p.writeVerdict("ok"); err != nil {
		return err
	}
	if _, err := p.file.WriteAt([]byte(strconv.Itoa(pid)+"\n"), 0); err != nil {
		return fmt.Errorf("cannot write pid file %q: %w", p.file.Name(), err)
	}
	return nil
}

// verdict tells those who wait what became of a reload; nil means it worked.
func (p *pidFile) verdict(reload error) error {
	if p == nil {
		return nil
	}
	p.reloads++
	if reload != nil {
		return p.writeVerdict("failed\n" + reload.Error())
	}
	return p.writeVerdict("ok")
}

// writeVerdict replaces the verdict's file, so that nobody reads half of it.
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

// close empties the file and unlocks it. It is not removed: somebody else may
// be about to lock it.
func (p *pidFile) close() {
	if p == nil {
		return
	}
	// Nothing depends on these: without the lock the content has no meaning.
	_ = p.file.Truncate(0)
	_ = os.Remove(verdictPath(p.file.Name()))
	p.file.Close()
}

func verdictPath(pidFile string) string { return pidFile + ".reload" }

// reload is the command: it sends SIGHUP and, if there is a pid file, waits for
// the verdict.
func reload(c *cli.Command) error {
	path, pid := c.String(flagPIDFile), c.Int(flagPID)
	switch {
	case c.IsSet(flagPID) && pid > 1:
		if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
			return fmt.Errorf("cannot signal process %d: %w", pid, err)
		}
		_, err := fmt.Fprintf(c.Root().Writer, "asked process %d to reload; its log has the verdict\n", pid)
		return err
	case c.IsSet(flagPID):
		return usage("--pid: found %d: want the process id of a running weir", pid)
	case path == "":
		return usage("weir reload needs --pid-file FILE, as given to weir run, or --pid ID; under systemd use systemctl reload weir")
	}

	pid, err := runningPID(path)
	if err != nil {
		return err
	}
	before, _, err := readVerdict(path)
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("cannot signal process %d: %w", pid, err)
	}
	give := time.NewTimer(c.Duration(flagWait))
	defer give.Stop()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for {
		select {
		case <-give.C:
			return fmt.Errorf("cannot tell whether the reload worked: process %d has said nothing for %s; its log has the verdict", pid, c.Duration(flagWait))
		case <-look.C:
		}
		reloads, verdict, err := readVerdict(path)
		if err != nil || reloads == before {
			if _, ended := runningPID(path); ended != nil {
				return fmt.Errorf("cannot reload: process %d has ended: %w", pid, ended)
			}
			continue
		}
		if verdict != "ok" {
			return fmt.Errorf("the reload failed, the old configuration stays in force: %s", strings.TrimPrefix(verdict, "failed\n"))
		}
		_, err = fmt.Fprintln(c.Root().Writer, "reloaded")
		return err
	}
}

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

// readVerdict returns the number of reloads so far and what became of the last.
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
