package access

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"weir/config"
)

// Users are the users of one place with the hashes of their passwords. They are never changed
// and may be used by any number of goroutines.
type Users struct {
	byName map[string]user
	// stranger is verified for names that are not there, so that the time does not tell.
	stranger user
}

type user struct {
	name   string
	hash   string
	verify verify
}

// maxUsersFile bounds a file of users.
const maxUsersFile = 16 << 20

// NewUsers reads the users of a configuration and its file. The error says which line is
// wrong, and shows no hash.
func NewUsers(c *config.BasicAuth) (*Users, error) {
	u := &Users{byName: make(map[string]user)}
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		if err := u.add(name, c.Users[name]); err != nil {
			return nil, err
		}
	}
	if c.File != "" {
		if err := u.read(c.File); err != nil {
			return nil, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(u.byName)) {
		u.stranger = u.byName[name]
		break
	}
	return u, nil
}

// Len returns how many users there are.
func (u *Users) Len() int { return len(u.byName) }

// read adds the users of a file with lines "name:hash", as htpasswd writes it.
func (u *Users) read(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("cannot read the users: %w", err)
	}
	if info.Size() > maxUsersFile {
		return fmt.Errorf("cannot read the users: %q has %d bytes, want at most %d", path, info.Size(), maxUsersFile)
	}
	data, err := config.ReadFile(path)
	if err != nil {
		return fmt.Errorf("cannot read the users: %w", err)
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, ok := strings.Cut(line, ":")
		err := errors.New(`want "name:hash"`)
		if ok {
			err = u.add(name, hash)
		}
		if err != nil {
			return fmt.Errorf("cannot read the users: %s:%d: %w", path, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("cannot read the users: %s: %w", path, err)
	}
	return nil
}

func (u *Users) add(name, hash string) error {
	if problem := config.UserNameProblem(name); problem != "" {
		return fmt.Errorf("user %q: want %s", name, problem)
	}
	if _, ok := u.byName[name]; ok {
		return fmt.Errorf("user %q is there twice", name)
	}
	v, err := parseHash(hash)
	if err != nil {
		return fmt.Errorf("user %q: want %w", name, err)
	}
	u.byName[name] = user{name, hash, v}
	return nil
}

// CheckUsers returns what is wrong with the users that a configuration names itself, with
// keys below its own. No problem shows a hash.
func CheckUsers(c *config.BasicAuth) (problems config.Errors) {
	for _, name := range slices.Sorted(maps.Keys(c.Users)) {
		if _, err := parseHash(c.Users[name]); err != nil {
			problems = append(problems, config.Problem{
				Key: config.Key("users", name), Found: "a text of " + strconv.Itoa(len(c.Users[name])) + " bytes", Want: err.Error(),
			})
		}
	}
	return problems
}
