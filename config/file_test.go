package config_test

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weir/config"
)

// A FIFO is read like a file if a process writes to it, and is an error if none does.
func TestReadFile(t *testing.T) {
	t.Parallel()
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := config.ReadFile(fifo); err == nil || !strings.Contains(err.Error(), "no process writes to this FIFO") {
		t.Errorf("without a writer: %q, %v", data, err)
	}
	// The end that reads is there first, so that the one that writes can be opened, and what it wrote stays.
	reader, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	writer, err := os.OpenFile(fifo, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := writer.WriteString("text"); err != nil {
		t.Fatal(err)
	}
	writer.Close()
	if data, err := config.ReadFile(fifo); err != nil || string(data) != "text" {
		t.Errorf("with a writer: %q, %v", data, err)
	}
	if data, err := config.ReadFile("/dev/null"); err != nil || len(data) > 0 {
		t.Errorf("a device: %q, %v", data, err)
	}
	for _, endless := range []string{"/dev/zero", sparse(t, 64<<20+1)} {
		if _, err := config.ReadFile(endless); err == nil || !strings.Contains(err.Error(), "more than 64 MiB") {
			t.Errorf("%s: %v", endless, err)
		}
	}
	if data, err := config.ReadFile(sparse(t, 64<<20)); err != nil || len(data) != 64<<20 {
		t.Errorf("64 MiB: %d, %v", len(data), err)
	}
	if _, err := config.ReadFile(filepath.Dir(fifo)); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a folder: %v", err)
	}
}

// sparse makes a file of a size that takes no room.
func sparse(t *testing.T, size int64) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sparse")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return path
}

// A file of PEM whose last block is cut off is an error, wherever the cut is, for it would be taken for a shorter one.
func TestReadPEM(t *testing.T) {
	t.Parallel()
	block := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: make([]byte, 100)}))
	path := filepath.Join(t.TempDir(), "file.pem")
	read := func(text string) error {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		data, err := config.ReadPEM(path)
		if err == nil && string(data) != text {
			t.Errorf("got %q", data)
		}
		return err
	}
	for _, good := range []string{"", block, block + block, "Subject: CN = a\n" + block + "# the end", strings.ReplaceAll(block, "\n", "\r\n"), "\x30\x82\n-", "no PEM"} {
		if err := read(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for cut := 1; cut < len(block)-1; cut++ { // the last line may lack its end
		if err := read(block + block[:cut]); err == nil || !strings.Contains(err.Error(), "found 2 blocks of PEM") {
			t.Errorf("with %q at its end: %v", block[:cut], err)
		}
	}
	if err := read("\ufeff" + block + block); err == nil || !strings.Contains(err.Error(), "of which 1 can be read") {
		t.Errorf("with a mark of the byte order: %v", err)
	}
}
