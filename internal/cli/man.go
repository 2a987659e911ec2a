package cli

import (
	"fmt"
	"io"
	"strings"

	urfave "github.com/urfave/cli/v3"
)

// manCommand is for make man; users read what that makes.
func manCommand() *urfave.Command {
	c := flagsOnly(func(c *urfave.Command) error { return writeManual(c.Root().Writer, c.Root()) }, &urfave.Command{
		Name:  "man",
		Usage: "print the manual page, for make man",
	})
	c.Hidden = true
	return c
}

// writeManual writes the page weir(1) in the language of man(7), made from the commands.
func writeManual(w io.Writer, root *urfave.Command) error {
	var b strings.Builder
	section := func(name string) { b.WriteString(".SH " + name + "\n") }
	fmt.Fprintf(&b, ".TH WEIR 1 \"\" \"weir %s\" \"weir\"\n", manText(root.Version))
	section("NAME")
	fmt.Fprintf(&b, "weir \\- %s\n", manText(root.Usage))
	section("SYNOPSIS")
	for _, c := range root.VisibleCommands() {
		fmt.Fprintf(&b, ".B weir %s\n[options]", c.Name)
		b.WriteString(manText(" "+c.ArgsUsage) + "\n.br\n")
	}
	section("DESCRIPTION")
	b.WriteString(manText("weir run serves by one file in TOML, config.toml by default. The other commands look at such a file, or speak to a "+
		"weir that runs: over its admin API (admin.address in the file, or --admin), and weir reload by a signal.") + "\n")
	section("COMMANDS")
	for _, c := range root.VisibleCommands() {
		fmt.Fprintf(&b, ".SS weir %s %s\n%s.\n", c.Name, manText(c.ArgsUsage), manText(sentence(c.Usage)))
		if c.UsageText != "" {
			fmt.Fprintf(&b, ".PP\n.nf\n%s\n.fi\n", manText(c.UsageText))
		}
		for _, f := range c.VisibleFlags() {
			names, does, _ := strings.Cut(f.String(), "\t")
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", manText(strings.TrimSpace(names)), manText(does))
		}
	}
	for _, part := range [...]struct {
		name string
		rows [][2]string
	}{{"EXIT STATUS", manExit}, {"SIGNALS", manSignals}, {"ENVIRONMENT", manEnvironment}, {"FILES", manFiles}} {
		section(part.name)
		for _, row := range part.rows {
			fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", manText(row[0]), manText(row[1]))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var manExit = [][2]string{
	{"0", "It worked."},
	{"1", "It did not work."},
	{"2", "The command line is wrong."},
	{"3", "Part of it worked: weir purge could not reach every tier of the cache, or weir import did not translate all."},
}

var manSignals = [][2]string{
	{"SIGHUP", "Reload the configuration, and open the access log again."},
	{"SIGUSR1", "Open the access log again."},
	{"SIGTERM, SIGINT, SIGQUIT", "Serve for lifecycle.delay, let running exchanges end, and stop. A second SIGTERM or SIGINT stops at once."},
	{"SIGABRT", "End at once, with the stacks of all goroutines on standard error."},
	{"SIGUSR2", "Start the program that is installed now with the sockets of this one, and end when it serves and the clients have left."},
	{"SIGWINCH, SIGPIPE", "Are ignored."},
}

var manEnvironment = [][2]string{
	{"WEIR_PID_FILE", "Stands for --pid-file."},
	{"GOMEMLIMIT, GOGC", "Override how weir fits its memory to the limit of the control group, and how much garbage it leaves."},
	{"WEIR_SECTION__KEY", "Sets the key SECTION.KEY of the configuration, before the file."},
	{"WEIR_LISTEN, WEIR_TARGETS, WEIR_RETRIES, WEIR_CACHE_TTL, WEIR_METRICS", "Set what is set most often. The first two are enough where there is no file."},
	{"any other", "Is what ${NAME} in a text of the configuration stands for."},
}

var manFiles = [][2]string{
	{"config.toml", "The configuration. weir config-schema prints a JSON schema of it, for editors."},
	{"/etc/weir/config.toml", "That of the service."},
}

// sentence begins a text with a capital letter.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] }

// manText escapes a text for man(7).
func manText(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
			lines[i] = `\&` + line
		}
	}
	return strings.Join(lines, "\n")
}
