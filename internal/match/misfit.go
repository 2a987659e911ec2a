package match

import "weir/config"

// Misfit is the first condition of a route that a request does not fit, by the name of its key
// in the configuration: "host", "path" and so on; empty if it fits all. It is for
// explanations, and slow.
func Misfit(route *config.Route, r *Request) string {
	var part config.Route
	for _, condition := range []struct {
		key string
		add func()
	}{
		{"host", func() { part.Host = route.Host }},
		{"path", func() { part.Path = route.Path }},
		{"method", func() { part.Method = route.Method }},
		{"listener", func() { part.Listener = route.Listener }},
		{"scheme", func() { part.Scheme = route.Scheme }},
		{"header", func() { part.Header = route.Header }},
		{"query", func() { part.Query = route.Query }},
		{"client", func() { part.Client = route.Client }},
	} {
		condition.add()
		var c Captures
		table, err := New([]config.Route{part})
		if err != nil {
			return condition.key
		}
		if _, _, ok := table.Match(r, &c); !ok {
			return condition.key
		}
	}
	return ""
}
