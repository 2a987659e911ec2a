package cli

import (
	"os"

	"weir/config"
	"weir/trace"
	"weir/trace/otlp"
)

// traceExporter returns what makes exporters of spans for a program of this version.
func traceExporter(version string) func(c *config.Tracing) (trace.Exporter, error) {
	return func(c *config.Tracing) (trace.Exporter, error) { return otlp.New(c, version, os.Getenv) }
}

// checkTracing reports settings of tracing, also of the environment, that a start would refuse. It connects
// nothing.
func checkTracing(cfg *config.Config) config.Errors {
	t := &cfg.Tracing
	if !t.Enabled || t.Endpoint == config.NoEndpoint {
		return nil
	}
	if _, err := otlp.New(t, "", os.Getenv); err != nil {
		return cfg.Locate(config.Errors{{Key: config.Key("tracing"), Message: err.Error()}})
	}
	return nil
}
