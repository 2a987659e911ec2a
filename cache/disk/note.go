package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"weir/cache/tier"
)

// noteSuffix ends the names of notes.
const noteSuffix = ".note"

// available says whether notes may be written and read.
func (t *Tier) available() error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if !t.opened || t.closed {
		return tier.ErrUnavailable
	}
	return nil
}

func (t *Tier) notePath(name string) string { return filepath.Join(t.folder, name+noteSuffix) }

// Keep implements tier.Keeper.
func (t *Tier) Keep(name string, note []byte) error {
	if err := t.available(); err != nil {
		return err
	}
	t.notes.Lock()
	defer t.notes.Unlock()
	path := t.notePath(name)
	if len(note) == 0 {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("cannot remove a note: %w", err)
		}
		return nil
	}
	// A name of its own until it is whole.
	if err := writeNote(path+partSuffix, os.O_TRUNC, note); err != nil {
		return err
	}
	if err := os.Rename(path+partSuffix, path); err != nil {
		return fmt.Errorf("cannot keep a note: %w", err)
	}
	return t.syncFolder()
}

// Extend implements tier.Keeper.
func (t *Tier) Extend(name string, more []byte) error {
	if err := t.available(); err != nil {
		return err
	}
	t.notes.Lock()
	defer t.notes.Unlock()
	if err := writeNote(t.notePath(name), os.O_APPEND, more); err != nil {
		return err
	}
	return t.syncFolder()
}

// writeNote writes b and forces it onto the disk.
func writeNote(path string, flag int, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|flag, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write a note: %w", err)
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("cannot write a note: %w", err)
	}
	return nil
}

// Kept implements tier.Keeper.
func (t *Tier) Kept(name string) ([]byte, error) {
	if err := t.available(); err != nil {
		return nil, err
	}
	t.notes.Lock()
	defer t.notes.Unlock()
	b, err := os.ReadFile(t.notePath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read a note: %w", err)
	}
	return b, nil
}

// syncFolder makes the names of new files last.
func (t *Tier) syncFolder() error {
	d, err := os.Open(t.folder)
	if err != nil {
		return fmt.Errorf("cannot open folder %q: %w", t.folder, err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("cannot force folder %q onto the disk: %w", t.folder, err)
	}
	return nil
}

var _ tier.Keeper = (*Tier)(nil)
