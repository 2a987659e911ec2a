package objective

import (
	"math"
	"strings"
	"testing"
	"time"

	"weir/config"
)

var start = time.Unix(1_700_000_000, 0)

// plan is that of some objectives of two routes, "a" and "b".
func plan(r *Registry, list ...config.Objective) *Plan {
	cfg := config.Default()
	cfg.Routes = []config.Route{{Name: "a"}, {Name: "b"}}
	cfg.Objectives = list
	p := r.Plan(cfg)
	r.Show(p)
	return p
}

func fast() config.Objective {
	o := config.DefaultObjective()
	o.Name, o.Percent, o.Below = "fast", 99, config.Duration(300*time.Millisecond)
	return o
}

// Which exchanges go well.
func TestCount(t *testing.T) {
	t.Parallel()
	errorsOnly, timeOnly := fast(), fast()
	errorsOnly.Below, timeOnly.Errors = 0, false
	for _, c := range []struct {
		name               string
		o                  config.Objective
		took               time.Duration
		failed, gone       bool
		good, slow, errors uint64
	}{
		{"in time", fast(), 300 * time.Millisecond, false, false, 1, 0, 0},
		{"too late", fast(), 300*time.Millisecond + 1, false, false, 0, 1, 0},
		{"failed fast", fast(), 1, true, false, 0, 0, 1},
		{"failed late", fast(), time.Second, true, false, 0, 0, 1},
		{"the client left early", fast(), 1, false, true, 0, 0, 0},
		{"the client left late", fast(), time.Second, false, true, 0, 1, 0},
		{"only errors count", errorsOnly, time.Hour, false, false, 1, 0, 0},
		{"only time counts", timeOnly, 1, true, false, 1, 0, 0},
		{"only time counts, too late", timeOnly, time.Second, true, false, 0, 1, 0},
	} {
		o := &objective{Objective: c.o}
		o.count(c.took, c.failed, c.gone)
		if o.good.Load() != c.good || o.slow.Load() != c.slow || o.failed.Load() != c.errors {
			t.Errorf("%s: good %d, slow %d, failed %d", c.name, o.good.Load(), o.slow.Load(), o.failed.Load())
		}
	}
}

// Burn rates of several windows, while something goes wrong and after that.
func TestBurnRates(t *testing.T) {
	t.Parallel()
	var r Registry
	p := plan(&r, fast())
	o := p.all[0]
	now := start
	// goOn lets time pass, in which 10 exchanges a second end, bad of them badly.
	goOn := func(d time.Duration, bad int) {
		for end := now.Add(d); now.Before(end); now = now.Add(time.Second) {
			r.Look(now)
			for i := range 10 {
				o.count(time.Millisecond, i < bad, false)
			}
		}
	}
	check := func(what string, want ...float64) {
		t.Helper()
		got := r.Objectives(now)[0].Burn
		for i, w := range want {
			if math.Abs(got[i]-w) > 0.04*w+0.001 {
				t.Errorf("%s: the burn rate of %s is %.3f, want %.3f", what, WindowName(o.Windows[i].D()), got[i], w)
			}
		}
	}
	check("before the first exchange", 0, 0, 0, 0, 0, 0)
	goOn(2*time.Hour, 0)
	check("all goes well", 0, 0, 0, 0, 0, 0)
	goOn(10*time.Minute, 5)
	check("half of all go wrong for ten minutes", 50, 50.0/3, 50.0/6, 50.0/13, 50.0/13, 50.0/13)
	goOn(30*time.Minute, 0)
	check("it is over for half an hour", 0, 0, 50.0/6, 50.0/16, 50.0/16, 50.0/16)
	goOn(6*time.Hour, 0)
	check("it has left the window of six hours", 0, 0, 0, 0, 50.0/52, 50.0/52)
}

// Reloads count on as long as the objective is the same.
func TestReload(t *testing.T) {
	t.Parallel()
	var r Registry
	o := fast()
	plan(&r, o).all[0].count(time.Second, false, false)
	again := plan(&r, o)
	if again.all[0].slow.Load() != 1 {
		t.Error("the same objective begins anew")
	}
	if len(again.routes[0]) != 1 || len(again.routes[1]) != 1 {
		t.Errorf("routes %v", again.routes)
	}
	o.Routes, o.Percent = config.Strings{"b"}, 99.9 // whose hundredth no binary number is
	other := plan(&r, o)
	if other.all[0].slow.Load() != 0 || len(other.routes[0]) != 0 || len(other.routes[1]) != 1 {
		t.Error("another objective counts on, or counts for other routes")
	}
	var page strings.Builder
	other.all[0].count(time.Second, true, false)
	r.WriteMetrics(&page)
	for _, want := range []string{
		"weir_objective_goal_ratio{objective=\"fast\"} 0.999\n", `weir_objective_requests_total{objective="fast"} 1`,
		`weir_objective_bad_total{objective="fast",reason="error"} 1`, `weir_objective_bad_total{objective="fast",reason="slow"} 0`,
		`weir_objective_burn_rate{objective="fast",window="5m"} 1000` + "\n", `weir_objective_burn_rate{objective="fast",window="3d"} 1000` + "\n",
	} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, &page)
		}
	}
	if none := plan(&r); none != nil || none.Hooks().OnDone != nil || len(r.Objectives(start)) != 0 {
		t.Error("without objectives there is a plan")
	}
}

// What was counted before the first look is in all windows.
func TestBurnRatesFromTheStart(t *testing.T) {
	t.Parallel()
	var r Registry
	plan(&r, fast()).all[0].count(time.Second, true, false)
	r.Look(start.Add(time.Second))
	for i, burn := range r.Objectives(start.Add(2 * time.Second))[0].Burn {
		if math.Abs(burn-100) > 0.001 {
			t.Errorf("the burn rate of window %d is %.3f, want 100", i, burn)
		}
	}
}
