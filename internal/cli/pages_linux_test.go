package cli

import (
	"bytes"
	"testing"
)

func TestDropFilePages(t *testing.T) {
	t.Parallel()
	var before [][]byte
	copied := 0
	if err := eachFileMapping(func(pages []byte) error {
		before = append(before, bytes.Clone(pages))
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if len(before) < 2 {
		t.Fatalf("found %d mappings of the test's own file, want at least its code and its constants", len(before))
	}
	if err := dropFilePages(); err != nil {
		t.Fatal(err)
	}
	if err := eachFileMapping(func(pages []byte) error {
		if !bytes.Equal(pages, before[copied]) {
			t.Errorf("mapping %d has changed", copied)
		}
		copied++
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}
