package config

// Statistics count the exchanges of each route by path template, such as "/users/{id}".
type Statistics struct {
	// Enabled counts by path template. Without it there are the figures of whole routes.
	Enabled bool `toml:"enabled"`
	// Paths bounds the path templates that are learned for each path of a route that ends in a slash, and for
	// a route without a path. What has none of its own is counted as "other". 1 to 10000.
	Paths int `toml:"paths"`
	// MaxPaths bounds the path templates that are learned for all routes together. 1 to 100000.
	MaxPaths int `toml:"max_paths"`
}

func (s *Statistics) setDefaults() { *s = Statistics{Enabled: true, Paths: 200, MaxPaths: 1000} }

func (s *Statistics) validate(at keyPath) {
	at.between("paths", s.Paths, 1, 10_000)
	at.between("max_paths", s.MaxPaths, 1, 100_000)
}

// The formats of histograms on the metrics page.
const (
	HistogramsPrometheus      = "prometheus"
	HistogramsVictoriaMetrics = "victoriametrics"
)

func (m *Metrics) validate(at keyPath) {
	at.oneOf("histograms", m.Histograms, HistogramsPrometheus, HistogramsVictoriaMetrics)
}
