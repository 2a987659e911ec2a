//go:build !linux

package cli

func dropFilePages() error { return nil }
