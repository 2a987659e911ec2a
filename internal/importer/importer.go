// Package importer translates configurations of nginx, HAProxy, Caddy and Traefik into
// weir's. It translates what has the same meaning here, and names all else with its file and
// line. What protects something and cannot be translated closes the routes that it protects:
// they answer 403 until somebody has decided.
//
// Only the command weir import calls it. It reads the files that it is given and what they
// include, and opens no sockets.
package importer

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"weir/config"
)

// Place is where something stands in the files of the other program.
type Place struct {
	File string
	Line int
}

func (p Place) String() string {
	if p.Line == 0 {
		return p.File
	}
	return fmt.Sprintf("%s:%d", p.File, p.Line)
}

// Note is something that is not translated, or not exactly.
type Note struct {
	Place Place
	Text  string
	// Closed says that a route, or several, refuse all requests because of it.
	Closed bool
}

// String returns "FILE:LINE: TEXT".
func (n Note) String() string {
	text := n.Text
	if n.Closed {
		text += "; THE ROUTE IS CLOSED"
	}
	return n.Place.String() + ": " + text
}

// Result is a translation.
type Result struct {
	// Text is a configuration of weir.
	Text []byte
	// Notes are in the order of the files.
	Notes []Note
}

var programs = map[string]func(d *draft, path string) error{
	"nginx": nginx, "haproxy": haproxy, "caddy": caddy, "traefik": traefik,
}

// Programs returns the names of the programs whose configurations can be translated.
func Programs() []string { return slices.Sorted(maps.Keys(programs)) }

// Options say how to translate.
type Options struct {
	// WithoutLimits leaves out limits on rates and connections that weir does not have. They are named,
	// and do not close their routes.
	WithoutLimits bool
}

// Import translates the file at path and what it includes. check reports what is wrong
// with a configuration of weir: a route that has a problem is closed, and any other problem is an
// error, as is a file that cannot be read or is not in the program's language. Files that the
// translation names may be missing, because they may be on another machine.
func Import(program, path string, options Options, check func(text []byte) error) (*Result, error) {
	translate, known := programs[program]
	if !known {
		return nil, fmt.Errorf("found program %q: want %s", program, config.OneOf(Programs()))
	}
	d := &draft{program: program, path: path, options: options}
	if err := bounded(translate, d, path); err != nil {
		return nil, err
	}
	if len(d.listeners) == 0 {
		return nil, fmt.Errorf("%s: found nothing that serves HTTP", path)
	}
	d.complete()
	for range 3 { // each time it closes what still has a problem
		text := d.text()
		err := present(check(text))
		if err == nil {
			return &Result{Text: text, Notes: d.notes}, nil
		}
		if !d.close(err) {
			return nil, fmt.Errorf("the translation of %s is not a configuration of weir: %w", path, err)
		}
	}
	return nil, fmt.Errorf("the translation of %s is not a configuration of weir", path)
}

// bounded translates, and returns an error if there is too much to do.
func bounded(translate func(d *draft, path string) error, d *draft, path string) (err error) {
	defer func() {
		switch v := recover(); v {
		case nil:
		case tooMany{}:
			err = fmt.Errorf("%s: too many rules overlap", path)
		default:
			panic(v)
		}
	}()
	return translate(d, path)
}

// present is err without the problems that files are missing on this machine.
func present(err error) error {
	problems, ok := errors.AsType[config.Errors](err)
	if !ok {
		return err
	}
	return slices.DeleteFunc(slices.Clone(problems), func(p config.Problem) bool { return p.Absent }).Err()
}

// close closes the routes that have problems. It returns false if something else has one too.
func (d *draft) close(err error) bool {
	problems, ok := errors.AsType[config.Errors](err)
	if !ok {
		return false
	}
	emitted := d.emitted()
	for _, p := range problems {
		var i int
		if n, _ := fmt.Sscanf(p.Key, "routes[%d]", &i); n != 1 || i >= len(emitted) || emitted[i].closed != nil {
			return false
		}
		key, _, _ := strings.Cut(strings.TrimPrefix(p.Key, fmt.Sprintf("routes[%d].", i)), ".")
		p.File, p.Line, p.Key = "", 0, cmp.Or(key, "route")
		r := emitted[i].owner
		r.refuse(d, r.at, notImplemented, "weir refuses this: %s", p.Error())
	}
	return true
}
