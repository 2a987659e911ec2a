package cli

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	urfave "github.com/urfave/cli/v3"
)

// The names of the flags that only weir reload has.
const (
	flagPID  = "pid"
	flagWait = "wait"
)

// verdictInterval is how often weir reload looks for the verdict.
const verdictInterval = 20 * time.Millisecond

func reloadCommand() *urfave.Command {
	return flagsOnly(reload, &urfave.Command{
		Name:  "reload",
		Usage: "make a running weir read its configuration again",
		Flags: []urfave.Flag{
			pidFileFlag("the --pid-file `FILE` of the running weir; its verdict is waited for"),
			&urfave.IntFlag{Name: flagPID, Usage: "its process `ID` instead; the verdict is in its log"},
			&urfave.DurationFlag{Name: flagWait, Value: 30 * time.Second, Usage: "the longest `TIME` to wait for the verdict"},
		},
	})
}

// reload sends SIGHUP to the running weir and, if there is a pid file, waits for
// the verdict.
func reload(c *urfave.Command) error {
	pid, path, err := running(c, "reload", syscall.SIGHUP)
	if err != nil || path == "" {
		return err
	}
	before, _, err := readVerdict(path)
	if err != nil {
		return err
	}
	if err := send(pid, syscall.SIGHUP); err != nil {
		return err
	}
	var verdict string
	if err := awaitVerdict(path, pid, c.Duration(flagWait), "reload", func() bool {
		reloads, text, err := readVerdict(path)
		verdict = text
		return err == nil && reloads != before
	}); err != nil {
		return err
	}
	if verdict != verdictOK {
		return fmt.Errorf("the reload failed, the old configuration stays in force: %s", strings.TrimPrefix(verdict, verdictFailed))
	}
	_, err = fmt.Fprintln(c.Root().Writer, "reloaded")
	return err
}

// running returns the process id of the weir that a command is for, and the path of its pid
// file. For --pid it sends signal at once, and returns no path: the log has the verdict.
func running(c *urfave.Command, command string, signal syscall.Signal) (pid int, path string, err error) {
	path, pid = c.String(flagPIDFile), c.Int(flagPID)
	switch {
	case c.IsSet(flagPID) && pid > 1:
		if err := send(pid, signal); err != nil {
			return 0, "", err
		}
		_, err := fmt.Fprintf(c.Root().Writer, "asked process %d to %s; its log has the verdict\n", pid, command)
		return pid, "", err
	case c.IsSet(flagPID):
		return 0, "", usage("--pid: found %d: want the process id of a running weir", pid)
	case path == "":
		return 0, "", usage("weir %s needs --pid-file FILE, as given to weir run, or --pid ID%s", command, unitHint(command))
	}
	pid, err = runningPID(path)
	return pid, path, err
}

func unitHint(command string) string {
	if command == "reload" {
		return "; under systemd use systemctl reload weir"
	}
	return ""
}

func send(pid int, signal syscall.Signal) error {
	if err := syscall.Kill(pid, signal); err != nil {
		return fmt.Errorf("cannot signal process %d: %w", pid, err)
	}
	return nil
}

// awaitVerdict waits until told says that there is a verdict. It returns an error if the
// process has ended without one, or if wait has passed.
func awaitVerdict(path string, pid int, wait time.Duration, what string, told func() bool) error {
	end := time.NewTimer(wait)
	defer end.Stop()
	look := time.NewTicker(verdictInterval)
	defer look.Stop()
	for {
		select {
		case <-end.C:
			return fmt.Errorf("cannot tell whether the %s worked: process %d has said nothing for %s; its log has the verdict", what, pid, wait)
		case <-look.C:
		}
		if told() {
			return nil
		}
		if _, ended := runningPID(path); ended != nil && !told() {
			return fmt.Errorf("cannot %s: process %d has ended: %w", what, pid, ended)
		}
	}
}
