package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// report is what was seen.
type report struct {
	setup    setup
	rate     int
	began    time.Time
	phases   []phase
	answers  []answer
	attempts int

	// Of the POSTs: doubled were acted upon more than once, actedLost although
	// the client got no good answer, invented not although it got one.
	doubled, actedLost, invented int

	dead, busy outage
	recovery   time.Duration
}

// phase is the time from one step to the next.
type phase struct {
	name string
	at   time.Duration
	from time.Time
}

// outage is what clients got while nothing could answer.
type outage struct {
	answers  []answer
	attempts int
}

// change is how long after a step its consequences may show.
const change = time.Second

func (r *report) failed(method string) int { return lost(r.answers, method) }

func (r *report) count(method string) (n int) {
	for _, a := range r.answers {
		if a.method == method {
			n++
		}
	}
	return n
}

// within returns the answers to requests that were due in a stretch of time.
func within(list []answer, from, to time.Time) (found []answer) {
	for _, a := range list {
		if !a.due.Before(from) && a.due.Before(to) {
			found = append(found, a)
		}
	}
	return found
}

// quantile returns the latency that the share q of list is not slower than.
func quantile(list []answer, q float64) time.Duration {
	if len(list) == 0 {
		return 0
	}
	var all []time.Duration
	for _, a := range list {
		all = append(all, a.latency)
	}
	slices.Sort(all)
	return all[min(len(all)-1, int(q*float64(len(all))))]
}

// milliseconds writes d for people.
func milliseconds(d time.Duration) string {
	return fmt.Sprintf("%.1f", float64(d)/float64(time.Millisecond))
}

// statuses counts what clients got.
func statuses(list []answer) string {
	counts := make(map[string]int)
	for _, a := range list {
		name := fmt.Sprint(a.status)
		if a.status == 0 {
			name = "no answer"
		}
		counts[name]++
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d × %s", counts[name], name))
	}
	return strings.Join(parts, ", ")
}

// outside returns the answers to requests that were due when no step had just
// been taken.
func (r *report) outside() (found []answer) {
	for i, p := range r.phases {
		from := p.from.Add(change)
		if i == 0 {
			from = p.from
		}
		found = append(found, within(r.answers, from, r.end(i))...)
	}
	return found
}

// end is when phase i ends.
func (r *report) end(i int) time.Time {
	if i+1 < len(r.phases) {
		return r.phases[i+1].from
	}
	return r.phases[0].from.Add(length + time.Minute)
}

// write writes all reports.
func write(w io.Writer, reports []*report) error {
	var b strings.Builder
	first := reports[0]
	fmt.Fprintf(&b, "Three targets, %d requests per second for %v, one in %d a POST. Measured %s.\n\n",
		first.rate, length, onePostIn, first.began.UTC().Format("2006-01-02 15:04 UTC"))
	b.WriteString("| | GETs failed | POSTs failed | POSTs acted upon twice | p50 ms | p99 ms | p99.9 ms | slowest ms |\n")
	b.WriteString("|---|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range reports {
		fmt.Fprintf(&b, "| %s | %d of %d | %d of %d | %d | %s | %s | %s | %s |\n", r.setup.title, r.failed(get), r.count(get),
			r.failed(post), r.count(post), r.doubled, milliseconds(quantile(r.answers, 0.5)), milliseconds(quantile(r.answers, 0.99)),
			milliseconds(quantile(r.answers, 0.999)), milliseconds(quantile(r.answers, 1)))
	}
	b.WriteString("\nGETs failed / POSTs failed / p99 ms, by what happens:\n\n| from second | what happens |")
	for _, r := range reports {
		fmt.Fprintf(&b, " %s |", r.setup.title)
	}
	b.WriteString("\n|--:|---|" + strings.Repeat("--:|", len(reports)) + "\n")
	for i, p := range first.phases {
		fmt.Fprintf(&b, "| %.0f | %s |", p.at.Seconds(), p.name)
		for _, r := range reports {
			all := within(r.answers, r.phases[i].from, r.end(i))
			fmt.Fprintf(&b, " %d / %d / %s |", lost(all, get), lost(all, post), milliseconds(quantile(all, 0.99)))
		}
		b.WriteString("\n")
	}
	b.WriteString("\nWhat clients got for those that failed:\n\n| | GETs | POSTs |\n|---|---|---|\n")
	for _, r := range reports {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.setup.title, statuses(failures(r.answers, get)), statuses(failures(r.answers, post)))
	}
	for _, r := range reports {
		if r.setup.full {
			r.details(&b)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// failures returns the requests of a method that failed.
func failures(list []answer, method string) (failed []answer) {
	for _, a := range list {
		if a.method == method && a.err != nil {
			failed = append(failed, a)
		}
	}
	return failed
}

// lost counts them.
func lost(list []answer, method string) int { return len(failures(list, method)) }

// details writes what is seen of one setup only.
func (r *report) details(b *strings.Builder) {
	quiet := within(r.answers, r.phases[0].from, r.end(0))
	fmt.Fprintf(b, "\n%s, in detail:\n\n| | |\n|---|--:|\n", r.setup.title)
	row := func(name string, value any) { fmt.Fprintf(b, "| %s | %v |\n", name, value) }
	row("failed POSTs that a target acted upon all the same", r.actedLost)
	row("POSTs that were answered and not acted upon", r.invented)
	row("attempts per request", fmt.Sprintf("%.4f", float64(r.attempts)/float64(len(r.answers))))
	row("p99 ms before the first change", milliseconds(quantile(quiet, 0.99)))
	row("p99 ms outside the seconds after a change", milliseconds(quantile(r.outside(), 0.99)))
	row("p99 ms over all", milliseconds(quantile(r.answers, 0.99)))
	row("slowest ms", milliseconds(quantile(r.answers, 1)))

	fmt.Fprintf(b, "\nThen nothing can answer, at %d requests per second for five seconds:\n\n", r.rate/2)
	b.WriteString("| | requests | what clients got | p50 ms | p99 ms | attempts per request |\n|---|--:|---|--:|--:|--:|\n")
	for _, o := range []struct {
		name string
		outage
	}{{"all targets killed", r.dead}, {"all targets answer 503", r.busy}} {
		fmt.Fprintf(b, "| %s | %d | %s | %s | %s | %.4f |\n", o.name, len(o.answers), statuses(o.answers),
			milliseconds(quantile(o.answers, 0.5)), milliseconds(quantile(o.answers, 0.99)),
			float64(o.attempts)/float64(max(1, len(o.answers))))
	}
	fmt.Fprintf(b, "\nA target that was started again got its first request after %s ms.\n", milliseconds(r.recovery))
}
