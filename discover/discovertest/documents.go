package discovertest

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"weir/discover"
)

// Documents are where a place keeps a part of the configuration.
type Documents struct {
	URL string
	// Put makes it have this text alone, and no document if text is empty.
	Put func(text string) error
	// Free says that the place takes anything for a document, so that its nonsense is one.
	Free bool
}

// documentsWait bounds the wait for documents at the start.
const documentsWait = 10 * time.Second

// FollowDocuments shows that a reader follows the documents of a place, and keeps them while the server is gone, answers
// nonsense, or has none any more.
func FollowDocuments(p Place) error {
	r := discover.NewReader(p.Schemes, documentsWait, slog.New(slog.DiscardHandler))
	defer r.Close()
	d := reading{Reader: r, place: p.Documents}
	nothing := func() error { return nil }
	return errors.Join(
		d.step("at the start", func() error { return p.Documents.Put("one = 1") }, nothing, "one = 1"),
		d.step("changed", nothing, func() error { return p.Documents.Put("two = 2") }, "two = 2"),
		d.step("the server was gone", p.Stop, func() error { return errors.Join(p.Start(), p.Documents.Put("three = 3")) }, "three = 3"),
		d.step("nonsense", func() error { return d.unless(p.Documents.Free, p.Break) }, func() error {
			return errors.Join(d.unless(p.Documents.Free, p.Mend), p.Documents.Put("four = 4"))
		}, "four = 4"),
		d.step("no documents", func() error { return p.Documents.Put("") }, func() error { return p.Documents.Put("five = 5") }, "five = 5"),
	)
}

// reading is a Reader that reads what a place has.
type reading struct {
	*discover.Reader
	place   *Documents
	version int64
	text    string
}

func (*reading) unless(not bool, do func() error) error {
	if not {
		return nil
	}
	return do()
}

// step does something that must change nothing, then a change, and waits until that is seen, with a greater version.
func (d *reading) step(what string, quiet, change func() error, want string) error {
	if err := quiet(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	before := d.text
	if before != "" {
		if err := d.read(); err != nil || d.text != before {
			return fmt.Errorf("%s: the document %q became %q: %w", what, before, d.text, err)
		}
	}
	if err := change(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	version := d.version
	var wrong error
	err := eventually(what+": the document is "+want, func() bool {
		if err := d.read(); err != nil && before != "" {
			wrong = err
		}
		return wrong != nil || d.text == want
	})
	if wrong == nil && d.version <= version {
		wrong = fmt.Errorf("version %d after %d", d.version, version)
	}
	if err := errors.Join(err, wrong); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// read reads the documents as they are now.
func (d *reading) read() error {
	version, list, err := d.Read(d.place.URL, "")
	if err != nil {
		return err
	}
	if len(list) != 1 {
		return fmt.Errorf("there are %d documents", len(list))
	}
	d.version, d.text = version, string(list[0].Text)
	return nil
}
