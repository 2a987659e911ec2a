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
	path, pid := c.String(flagPIDFile), c.Int(flagPID)
	switch {
	case c.IsSet(flagPID) && pid > 1:
		if err := hangUp(pid); err != nil {
			return err
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
	if err := hangUp(pid); err != nil {
		return err
	}
	if err := awaitVerdict(path, pid, before, c.Duration(flagWait)); err != nil {
		return err
	}
	_, err = fmt.Fprintln(c.Root().Writer, "reloaded")
	return err
}

func hangUp(pid int) error {
	if err := syscall.Kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("cannot signal process %d: %w", pid, err)
	}
	return nil
}

// awaitVerdict waits until the number of reloads is no longer before, and
// returns an error if that reload failed, if the process has ended, or if wait
// has passed.
func awaitVerdict(path string, pid, before int, wait time.Duration) error {
	end := time.NewTimer(wait)
	defer end.Stop()
	look := time.NewTicker(verdictInterval)
	defer look.Stop()
	for {
		select {
		case <-end.C:
			return fmt.Errorf("cannot tell whether the reload worked: process %d has said nothing for %s; its log has the verdict", pid, wait)
		case <-look.C:
		}
		reloads, verdict, err := readVerdict(path)
		switch {
		case err != nil || reloads == before:
			if _, ended := runningPID(path); ended != nil {
				return fmt.Errorf("cannot reload: process %d has ended: %w", pid, ended)
			}
		case verdict == verdictOK:
			return nil
		default:
			return fmt.Errorf("the reload failed, the old configuration stays in force: %s", strings.TrimPrefix(verdict, verdictFailed))
		}
	}
}
