package docs_test

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// rows are those of the table that follows a line of a page, by their first cell; the first row, under "", has
// the names of the columns in lower case.
func rows(t *testing.T, file, before string) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), before)
	if !found {
		t.Fatalf("%s has no %q", file, before)
	}
	all := make(map[string][]string)
	for line := range strings.Lines(rest) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "|") {
			if len(all) > 0 {
				break
			}
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		if len(all) == 0 {
			all[""] = strings.Split(strings.ToLower(strings.Join(cells, "|")), "|")
		} else {
			all[strings.TrimSuffix(cells[0], ", 64 connections")] = cells
		}
	}
	return all
}

// TestReadmeFigures: the table of the README is from the run that is recorded, and says which that is.
func TestReadmeFigures(t *testing.T) {
	t.Parallel()
	const record = "../bench/results/peers.md"
	readme, recorded := rows(t, "../README.md", "## How fast"), rows(t, record, "### CPU microseconds per request")
	compared := 0
	for name, cells := range readme {
		want := recorded[name]
		if name == "" || strings.HasPrefix(name, "--") {
			continue
		}
		if want == nil {
			t.Errorf("README.md has a row %q, and %s has none", name, record)
			continue
		}
		for i, cell := range cells[1:] {
			figure := ""
			for k, peer := range recorded[""] {
				if peer == readme[""][i+1] {
					figure, _, _ = strings.Cut(want[k], " ")
				}
			}
			got, err := strconv.ParseFloat(cell, 64)
			exact, wrong := strconv.ParseFloat(figure, 64)
			if (err != nil || wrong != nil || math.Abs(got-exact) > 0.51) && cell != figure {
				t.Errorf("README.md, %s, %s: found %q, recorded is %q", name, readme[""][i+1], cell, figure)
			}
			compared++
		}
	}
	if compared < 30 {
		t.Errorf("only %d figures were compared", compared)
	}
	text, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}
	run := regexp.MustCompile("^Measured (\\S+) .* at revision `(\\w{12})").FindSubmatch(text)
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if run == nil || !strings.Contains(string(page), string(run[1])+" at revision `"+string(run[2])) {
		t.Errorf("README.md does not say that its figures are of %q", run)
	}
}

// TestOpenings: each page says what it is for, and has an example before long.
func TestOpenings(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("*.md")
	if err != nil || len(pages) < 40 {
		t.Fatal(len(pages), err)
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(string(text), "\n")
		if len(lines) < 3 || !strings.HasPrefix(lines[0], "# ") || lines[2] == "" || strings.ContainsAny(lines[2][:1], "#|`-") {
			t.Errorf("docs/%s does not begin with a title and what the page is for", page)
		}
		if !slices.ContainsFunc(lines[:min(len(lines), 12)], func(line string) bool { return strings.HasPrefix(line, "```") }) {
			t.Errorf("docs/%s has no example in its first 12 lines", page)
		}
	}
}
