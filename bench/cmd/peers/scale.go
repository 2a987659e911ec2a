package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"weir/bench"
	"weir/bench/load"
)

// step is one point of a curve: weir with n of something.
type step struct {
	curve string
	n     int
	sc    scenario
	write func(path string, s settings, origins []string) error
	// path makes the n different paths that are asked for in turn; nil means
	// that of sc alone.
	path func(i int) string
	// targets is how many origin addresses it needs; 0 means the common one.
	targets int
}

// scaled is what `-scale` writes.
type scaled struct {
	result
	Curves []scaledCurve `json:"curves"`
}

type scaledCurve struct {
	What   string        `json:"what"`
	Points []scaledPoint `json:"points"`
}

type scaledPoint struct {
	N      int      `json:"n"`
	Rounds []sample `json:"rounds,omitempty"`
	Median sample   `json:"median"`
	Error  string   `json:"error,omitempty"`
}

// steps lists the points of all curves, smallest first.
func steps() []step {
	base := scenario{path: "/bytes/1024", body: 1 << 10, conns: 64}
	var out []step
	for _, n := range []int{64, 512, 4096} {
		sc := base
		sc.conns = n
		out = append(out, step{curve: "connections", n: n, sc: sc, write: writeTargets})
	}
	for _, n := range []int{10, 1000, 100_000} {
		sc := base
		sc.warm = int64(n)
		path := func(i int) string { return fmt.Sprintf("/r%d/bytes/1024", i) }
		out = append(out, step{curve: "routes", n: n, sc: sc, path: path, write: func(path string, s settings, origins []string) error {
			return writeRoutes(path, s, n)
		}})
	}
	for _, n := range []int{2, 100, 10_000} {
		sc := base
		sc.warm = int64(3 * n) // each target gets its connection
		out = append(out, step{curve: "targets", n: n, sc: sc, write: writeTargets, targets: n})
	}
	for _, n := range []int{1000, 100_000, 1_000_000} {
		sc := base
		sc.cache, sc.body = true, 1
		// One miss, and one hit: weir prepares an entry for further ones then,
		// and what it allocates for that is not what a hit costs.
		sc.warm = int64(n) * 2
		path := func(i int) string { return fmt.Sprintf("/bytes/1?n=%d", i) }
		out = append(out, step{curve: "entries", n: n, sc: sc, path: path, write: writeEntries})
	}
	return out
}

// writeConfig writes a weir configuration whose routes and upstreams come from body.
func writeConfig(path string, s settings, body func(w *bufio.Writer)) error {
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("cannot write configuration: %w", err)
	}
	w := bufio.NewWriter(f)
	fmt.Fprintf(w, "[[listeners]]\naddress = %q\n[listeners.timeouts]\nidle = \"1h\"\n", s.Listen)
	fmt.Fprint(w, "[access_log]\noutput = \"off\"\n")
	if s.Forwarding {
		fmt.Fprint(w, "[forwarding]\nvia = \"weir\"\n")
	} else {
		fmt.Fprint(w, "[forwarding]\nx_forwarded = false\nrequest_id = \"\"\n")
	}
	body(w)
	if err := w.Flush(); err != nil {
		_ = f.Close() // the first error tells
		return fmt.Errorf("cannot write configuration: %w", err)
	}
	return f.Close()
}

func writeUpstream(w *bufio.Writer, origins []string) {
	fmt.Fprint(w, "[upstreams.origin]\ntargets = [\n")
	for _, o := range origins {
		fmt.Fprintf(w, "\"http://%s\",\n", o)
	}
	fmt.Fprint(w, "]\n[upstreams.origin.connections]\nidle = \"1h\"\n")
}

func writeTargets(path string, s settings, origins []string) error {
	return writeConfig(path, s, func(w *bufio.Writer) {
		fmt.Fprint(w, "[[routes]]\nupstream = \"origin\"\n")
		writeUpstream(w, origins)
	})
}

func writeRoutes(path string, s settings, n int) error {
	return writeConfig(path, s, func(w *bufio.Writer) {
		for i := range n {
			fmt.Fprintf(w, "[[routes]]\npath = \"/r%d/\"\nstrip_prefix = true\nupstream = \"origin\"\n", i)
		}
		writeUpstream(w, []string{s.Origin})
	})
}

func writeEntries(path string, s settings, origins []string) error {
	return writeConfig(path, s, func(w *bufio.Writer) {
		fmt.Fprint(w, "[[routes]]\nupstream = \"origin\"\ncache = true\n[cache]\nsize = \"4GiB\"\n")
		writeUpstream(w, origins)
	})
}

// scale measures weir against itself as one thing grows.
func scale(ctx context.Context, f flags, r *runner) error {
	wanted, err := chooseSteps(f.scale)
	if err != nil {
		return err
	}
	weir := peers(f.weir, r.self)[0]
	if _, err := weir.find(); err != nil {
		return err
	}
	out := &scaled{result: *newResult(ctx, r)}
	out.Versions["weir"] = weir.tell(ctx)
	if err := r.startOrigin(ctx, f.origin); err != nil {
		return err
	}
	defer r.origin.stop()
	out.Settings.Origin = r.settings.Origin
	for len(wanted) > 0 {
		n := 1
		for n < len(wanted) && wanted[n].curve == wanted[0].curve {
			n++
		}
		c, err := r.curve(ctx, wanted[:n], weir)
		if err != nil {
			return err
		}
		out.Curves = append(out.Curves, c)
		wanted = wanted[n:]
	}
	text := scaleMarkdown(out)
	fmt.Println(text)
	if f.out == "" {
		return nil
	}
	return save(f.out, "scale", out, text, map[string]string{"cpu": lineChart("weir: CPU microseconds per request as things grow", curvesOf(out))})
}

func chooseSteps(list string) ([]step, error) {
	all := steps()
	if list == "all" {
		return all, nil
	}
	var names []string
	for _, st := range all {
		if !slices.Contains(names, st.curve) {
			names = append(names, st.curve)
		}
	}
	chosen, err := choose("curve", list, names, func(s string) string { return s })
	if err != nil {
		return nil, fmt.Errorf("%w, or all", err)
	}
	return slices.DeleteFunc(all, func(st step) bool { return !slices.Contains(chosen, st.curve) }), nil
}

// curve measures the points of one curve: in each round all of them in turn, so
// that a slow moment of the machine does not look like growth.
func (r *runner) curve(ctx context.Context, steps []step, weir peer) (scaledCurve, error) {
	c := scaledCurve{What: steps[0].curve, Points: make([]scaledPoint, len(steps))}
	for round := range r.settings.Rounds {
		for i, st := range steps {
			point := &c.Points[i]
			point.N = st.n
			if point.Error != "" {
				continue // it failed before; once is enough to say so
			}
			s, err := r.step(ctx, st, weir)
			if ctx.Err() != nil {
				return c, ctx.Err()
			}
			if err != nil {
				point.Error = err.Error()
				r.log("%-12s %7d round %d FAILED: %v", st.curve, st.n, round+1, err)
				continue
			}
			point.Rounds = append(point.Rounds, s)
			r.log("%-12s %7d round %d %s", st.curve, st.n, round+1, s)
		}
	}
	for i := range c.Points {
		c.Points[i].Median = median(c.Points[i].Rounds)
	}
	return c, nil
}

// step measures one point once.
func (r *runner) step(ctx context.Context, st step, weir peer) (sample, error) {
	origins := []string{r.address}
	if st.targets > 0 {
		procs, addresses, err := startOrigins(ctx, r.dir, r.self, st.targets)
		defer func() {
			for _, p := range procs {
				p.stop()
			}
		}()
		if err != nil {
			return sample{}, err
		}
		origins = addresses
	}
	if st.path != nil {
		st.sc.requests = make([][]byte, st.n)
		for i := range st.sc.requests {
			st.sc.requests[i] = load.Get(bench.CertificateName, st.path(i))
		}
	}
	weir.write = func(path string, s settings) error { return st.write(path, s, origins) }
	return r.sample(ctx, st.sc, weir)
}

// startOrigins starts our own origin on n loopback addresses, spread over
// processes so that none needs more descriptors than usual.
func startOrigins(ctx context.Context, dir, self string, n int) (procs []*process, addresses []string, err error) {
	const each = 4000
	for first := 0; first < n; first += each {
		count := min(each, n-first)
		list := originAddresses(len(procs), count)
		p, err := startProcess(ctx, "origins", dir, list[count-1],
			[]string{self, "serve-origin", "-listen", list[0], "-count", strconv.Itoa(count)}, nil)
		if err != nil {
			return procs, nil, err
		}
		procs = append(procs, p)
		addresses = append(addresses, list...)
	}
	return procs, addresses, nil
}

// originPort is one below the range that kernels give to clients.
const originPort = 21080

// originAddresses are addresses 127.(20+group).0.1 and following, all with one port.
func originAddresses(group, n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("127.%d.%d.%d:%d", 20+group, i/250, i%250+1, originPort)
	}
	return out
}

func curvesOf(s *scaled) []curve {
	var out []curve
	for _, c := range s.Curves {
		line := curve{title: c.What}
		for _, p := range c.Points {
			if len(p.Rounds) > 0 {
				line.points = append(line.points, point{float64(p.N), p.Median.CPU})
			}
		}
		if len(line.points) > 0 {
			out = append(out, line)
		}
	}
	return out
}

func scaleMarkdown(s *scaled) string {
	head, _, _ := strings.Cut(markdown(&s.result), "\n\n")
	var b strings.Builder
	b.WriteString(head)
	b.WriteString("\n\n| | n | CPU us per request | requests per second | resident MiB | failed |\n|---|---|---|---|---|---|\n")
	for _, c := range s.Curves {
		for _, p := range c.Points {
			if p.Error != "" {
				fmt.Fprintf(&b, "| %s | %d | %s | | | |\n", c.What, p.N, strings.ReplaceAll(p.Error, "\n", " "))
				continue
			}
			m := p.Median
			fmt.Fprintf(&b, "| %s | %d | %.1f | %.0f | %.1f | %d |\n", c.What, p.N, m.CPU, m.PerSecond, m.Resident/(1<<20), m.Failed)
		}
	}
	return b.String()
}
