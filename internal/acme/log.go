package acme

import (
	"context"
	"log/slog"
	"maps"
	"slices"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// told are the messages of certmagic about what this package logs by itself.
var told = []string{"could not get certificate from issuer", "will retry", "job failed", "challenge failed"}

// quiet returns a logger for certmagic that says what operators need not know at the level debug.
func quiet(log *slog.Logger) *zap.Logger { return zap.New(&core{log: log}) }

// core is a zapcore.Core over a slog.Logger.
type core struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func level(e zapcore.Entry) slog.Level {
	if e.Level >= zapcore.ErrorLevel && !slices.Contains(told, e.Message) {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}

// Enabled implements zapcore.LevelEnabler.
func (c *core) Enabled(l zapcore.Level) bool {
	return c.log.Enabled(context.Background(), level(zapcore.Entry{Level: l}))
}

// With implements zapcore.Core.
func (c *core) With(fields []zapcore.Field) zapcore.Core {
	return &core{c.log, append(slices.Clip(c.fields), fields...)}
}

// Check implements zapcore.Core.
func (c *core) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return to.AddCore(e, c)
	}
	return to
}

// Write implements zapcore.Core.
func (c *core) Write(e zapcore.Entry, fields []zapcore.Field) error {
	values := zapcore.NewMapObjectEncoder()
	for _, f := range append(slices.Clip(c.fields), fields...) {
		f.AddTo(values)
	}
	var attrs []slog.Attr
	for _, key := range slices.Sorted(maps.Keys(values.Fields)) {
		attrs = append(attrs, slog.Any(key, values.Fields[key]))
	}
	c.log.LogAttrs(context.Background(), level(e), "certificates: "+e.Message, attrs...)
	return nil
}

// Sync implements zapcore.Core.
func (c *core) Sync() error { return nil }
