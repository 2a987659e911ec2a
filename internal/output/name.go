package output

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"weir/config"
)

// The outputs that are neither files nor syslog servers.
const (
	Stdout = "stdout"
	Stderr = "stderr"
	Off    = "off" // of logs that may be off; Open does not know it
)

// CheckName returns what is wrong with the name of an output; nil if nothing is. words are
// those of the constants that are allowed.
func CheckName(output string, words ...string) (problems []config.Problem) {
	if _, is, want := parseSyslog(output); is && want != "" {
		problems = append(problems, config.Problem{Key: "output", Found: strconv.Quote(output), Want: want})
	} else if !is && !slices.Contains(words, output) && !isPath(output) {
		quoted := make([]string, len(words))
		for i, word := range words {
			quoted[i] = strconv.Quote(word)
		}
		problems = append(problems, config.Problem{
			Key: "output", Found: strconv.Quote(output),
			Want: strings.Join(quoted, ", ") + `, "syslog:" and an address, or the path of a file, with a "/" or a "." in it`,
			Hint: hint(output, words),
		})
	}
	return problems
}

// isPath says whether an output is meant to be a file. A single word is more likely the
// name of an output that does not exist, and a colon the name of a protocol.
func isPath(output string) bool {
	first, _, deep := strings.Cut(output, "/")
	return (deep || strings.Contains(output, ".")) && !strings.Contains(first, ":")
}

// hint returns the output that was probably meant.
func hint(found string, words []string) string {
	if slices.Contains(words, Off) && slices.Contains([]string{"none", "false", "no", "null", "/dev/null"}, found) {
		return Off
	}
	return config.Nearest(found, words)
}

// CheckFile returns the problem of a file that could not be opened, in a folder that is missing
// for example. name is what the log is called, such as "access log". It opens nothing, and
// outputs that are no files have no problem.
func CheckFile(output, name string) (problems []config.Problem) {
	if slices.Contains([]string{Stdout, Stderr, Off}, output) || !isPath(output) {
		return nil
	}
	problem := func(format string, args ...any) {
		problems = append(problems, config.Problem{Key: "output", Message: fmt.Sprintf(format, args...)})
	}
	folder := filepath.Dir(output)
	info, err := os.Stat(output)
	switch {
	case err == nil && info.IsDir():
		problem("cannot write %s %q: the path is that of a folder", name, output)
	case err == nil:
		if err := unix.Access(output, unix.W_OK); err != nil {
			problem("cannot write %s %q: %s", name, output, err)
		}
	default:
		if err := unix.Access(folder+"/.", unix.W_OK|unix.X_OK); err != nil {
			problem("cannot make %s %q in folder %q: %s", name, output, folder, err)
		}
	}
	return problems
}
