// Sbom prints what a program of Go contains, as it says itself (debug/buildinfo), as a CycloneDX
// list: "sbom FILE". It has a module of its own, so that weir's users need not have what it needs.
package main

import (
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: sbom FILE")
		os.Exit(2)
	}
	if err := list(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "cannot list what", os.Args[1], "contains:", err)
		os.Exit(1)
	}
}

// list prints the list of the program at path. Nothing in it depends on when or where it is made.
func list(path string) error {
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return err
	}
	program := component(&info.Main, cdx.ComponentTypeApplication)
	program.Name = filepath.Base(path)
	var settings []cdx.Property
	for _, s := range info.Settings {
		settings = append(settings, cdx.Property{Name: "go:build:" + s.Key, Value: s.Value})
	}
	program.Properties = &settings
	// The standard library is a component as well: it has faults like any other.
	library := cdx.Component{Type: cdx.ComponentTypeLibrary, Name: "std", Version: strings.TrimPrefix(info.GoVersion, "go")}
	library.PackageURL = "pkg:golang/std@" + library.Version
	library.BOMRef = library.PackageURL
	components := []cdx.Component{library}
	uses := []string{library.BOMRef}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		c := component(module, cdx.ComponentTypeLibrary)
		components = append(components, c)
		uses = append(uses, c.BOMRef)
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &program}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: program.BOMRef, Dependencies: &uses}}
	return cdx.NewBOMEncoder(os.Stdout, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
}

func component(module *debug.Module, kind cdx.ComponentType) cdx.Component {
	url := "pkg:golang/" + module.Path + "@" + module.Version
	c := cdx.Component{Type: kind, Name: module.Path, Version: module.Version, PackageURL: url, BOMRef: url}
	// The sum of go.sum is a SHA-256 over the module's files.
	if sum, ok := strings.CutPrefix(module.Sum, "h1:"); ok {
		if raw, err := base64.StdEncoding.DecodeString(sum); err == nil {
			c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(raw)}}
		}
	}
	return c
}
