package main

import (
	"context"
	"errors"
)

func scale(ctx context.Context, f flags, r *runner) error {
	return errors.New("cannot measure curves yet")
}
