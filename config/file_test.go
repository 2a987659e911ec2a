package config_test

import (
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
	if _, err := config.ReadFile(filepath.Dir(fifo)); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a folder: %v", err)
	}
}
