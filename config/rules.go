package config

// rules are what the validate methods ask of the keys of one table, noted while they run,
// so that the schema for editors says the same without a second list.
type rules struct {
	enums    map[string][]any      // the only values of a key
	bounds   map[string][2]float64 // the least and the most of a number
	positive map[string]bool       // time spans of more than 0
	required []string              // keys that a table must have
	choice   []string              // keys of which a table must have exactly one
}

// rulesOf returns the rules of a table that has its defaults.
func rulesOf(v validator) *rules {
	r := &rules{enums: map[string][]any{}, bounds: map[string][2]float64{}, positive: map[string]bool{}}
	// With a source the rules are those for files.
	c := &check{config: &Config{source: &source{}}, rules: r}
	v.validate(keyPath{check: c})
	return r
}

// note calls f with the rules that are being collected, if they are those of this table.
func (p keyPath) note(f func(r *rules)) {
	if r := p.check.rules; r != nil && p.path == "" {
		f(r)
	}
}
