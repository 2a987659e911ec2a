// Command site makes a web site of the documentation, as static files without scripts or outside resources,
// and checks its links:
//
//	go run ./docs/site -out bin/docs
//
// It begins at README.md and follows links: pages in Markdown become pages of the site, and so do other
// files and folders that pages link to. What README.md has under "Read on" is the contents of all pages.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	root := flag.String("root", ".", "the checkout")
	out := flag.String("out", "", "the folder that the site is written to; empty: only check")
	flag.Parse()
	s, err := read(os.DirFS(*root))
	if err == nil && *out != "" {
		err = s.write(*out)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Printf("%d pages, %d links\n", len(s.documents), s.links)
}
