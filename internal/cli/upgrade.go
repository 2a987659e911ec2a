package cli

import (
	"fmt"
	"strings"
	"syscall"
	"time"

	urfave "github.com/urfave/cli/v3"
)

func upgradeCommand() *urfave.Command {
	return flagsOnly(upgrade, &urfave.Command{
		Name:  "upgrade",
		Usage: "replace a running weir by the program that is installed now, without losing a request",
		Flags: []urfave.Flag{
			pidFileFlag("the --pid-file `FILE` of the running weir; its verdict is waited for"),
			&urfave.IntFlag{Name: flagPID, Usage: "its process `ID` instead; the verdict is in its log"},
			&urfave.DurationFlag{Name: flagWait, Value: 90 * time.Second, Usage: "the longest `TIME` to wait for the verdict"},
		},
	})
}

// upgrade sends SIGUSR2 to the running weir and, if there is a pid file, waits for the verdict.
func upgrade(c *urfave.Command) error {
	pid, path, err := running(c, "upgrade", syscall.SIGUSR2)
	if err != nil || path == "" {
		return err
	}
	before, err := readUpgrade(path)
	if err != nil {
		return err
	}
	if before.state == upgradeRuns {
		return fmt.Errorf("cannot upgrade: process %d is upgraded already", pid)
	}
	if err := send(pid, syscall.SIGUSR2); err != nil {
		return err
	}
	var verdict upgradeVerdict
	err = awaitVerdict(path, pid, c.Duration(flagWait), "upgrade", func() bool {
		now, err := readUpgrade(path)
		verdict = now
		return err == nil && now != before && now.state != upgradeRuns
	})
	switch {
	case err != nil:
		return err
	case verdict.state == upgradeDone:
		_, err := fmt.Fprintf(c.Root().Writer, "upgraded: process %s serves, process %d ends when its clients have left\n", verdict.text, pid)
		return err
	}
	return fmt.Errorf("the upgrade failed, process %d goes on: %s", pid, strings.TrimSpace(verdict.text))
}
