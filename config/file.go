package config

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"time"
)

// pipeWait bounds how long ReadFile waits for what writes to a FIFO.
const pipeWait = 10 * time.Second

// maxFile bounds what ReadFile reads: more than any configuration, certificate or list of users, and less than a device such as
// /dev/zero has.
const maxFile = 64 << 20

// ReadFile is os.ReadFile for files that a configuration names. It does not hang: a FIFO to which no
// process writes is an error at once, and one whose writer does not come to its end within 10 s is, too. More than 64 MiB
// are an error.
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
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err == nil && len(data) > maxFile:
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("it has more than 64 MiB")}
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("what writes to this FIFO has not ended within %v", pipeWait)}
	case err == nil && len(data) == 0 && info.Mode()&fs.ModeNamedPipe != 0:
		err = &fs.PathError{Op: "read", Path: path, Err: errors.New("no process writes to this FIFO")}
	}
	return data, err
}

// ReadPEM is ReadFile for a file of PEM, and wants all blocks of it whole: pem.Decode passes over one that is cut off, as the last
// is in a file that is being written. What has no block at all, such as DER, is for the caller to judge.
func ReadPEM(path string) ([]byte, error) {
	data, err := ReadFile(path)
	if err != nil {
		return nil, err
	}
	const begin = "-----BEGIN "
	begun, whole := bytes.Count(data, []byte(begin)), 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		whole++
	}
	if last := data[bytes.LastIndexByte(data, '\n')+1:]; begun > 0 && whole == begun && len(last) > 0 && strings.HasPrefix(begin, string(last)) {
		begun++
	}
	if whole < begun {
		return nil, fmt.Errorf("found %d blocks of PEM in %q, of which %d can be read: want all of them whole", begun, path, whole)
	}
	return data, nil
}

// LoadKeyPair is tls.LoadX509KeyPair that reads by ReadPEM.
func LoadKeyPair(cert, key string) (tls.Certificate, error) {
	certPEM, err := ReadPEM(cert)
	if err != nil {
		return tls.Certificate{}, err
	}
	keyPEM, err := ReadPEM(key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certPEM, keyPEM)
}
