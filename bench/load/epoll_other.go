//go:build !linux

package load

import (
	"errors"
	"fmt"
)

func newEpoll(Options) (driver, error) {
	return nil, fmt.Errorf("cannot use the epoll engine: %w", errors.ErrUnsupported)
}
