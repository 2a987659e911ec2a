package config

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
	"time"
)

// pipeWait bounds how long ReadFile waits for what writes to a FIFO.
const pipeWait = 10 * time.Second

// ReadFile is os.ReadFile for files that a configuration names. It does not hang: a FIFO to which no
// process writes is an error at once, and one whose writer does not come to its end within 10 s is, too.
func ReadFile(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	_ = f.SetReadDeadline(time.Now().Add(pipeWait)) // files that never wait have none
	data, err := io.ReadAll(f)
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("what writes to this FIFO has not ended within %v", pipeWait)}
	case err == nil && len(data) == 0 && info.Mode()&fs.ModeNamedPipe != 0:
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("no process writes to this FIFO")}
	}
	return data, err
}

// LoadKeyPair is tls.LoadX509KeyPair that reads by ReadFile.
func LoadKeyPair(cert, key string) (tls.Certificate, error) {
	certPEM, err := ReadFile(cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := ReadFile(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}
