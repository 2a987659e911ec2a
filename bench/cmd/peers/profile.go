package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	pprof "github.com/google/pprof/profile"

	"weir/bench/load"
)

// profiledScenarios are what weir is optimised for, unless others are chosen.
const profiledScenarios = "pass-1k-c64,pass-1k-c512,pass-10k,pass-100k,tls-1k,hit-1k,hit-10k,observed"

// profile writes one CPU profile of weir under all chosen scenarios to f.profile,
// as the compiler takes it for profile-guided optimisation.
func profile(ctx context.Context, f flags, r *runner) error {
	if f.scenarios == "" {
		f.scenarios = profiledScenarios
	}
	wanted, err := chooseScenarios(f.scenarios)
	if err != nil {
		return err
	}
	weirs := peers(f.weir, r.self)
	if err := r.startOrigin(ctx, f.origin); err != nil {
		return err
	}
	defer r.origin.stop()
	var all []*pprof.Profile
	for _, sc := range wanted {
		weir := weirs[0]
		for _, p := range weirs {
			if slices.Contains(sc.options, p.name) {
				weir = p
				break
			}
		}
		weir.profiled = true
		p, err := r.profile(ctx, sc, weir)
		if err != nil {
			return fmt.Errorf("%s: %w", sc.id, err)
		}
		r.log("%-12s profiled", sc.id)
		all = append(all, p)
	}
	merged, err := pprof.Merge(all)
	if err != nil {
		return fmt.Errorf("cannot merge profiles: %w", err)
	}
	for _, m := range merged.Mapping {
		m.File = "weir" // wherever it ran
	}
	out, err := os.Create(f.profile)
	if err != nil {
		return fmt.Errorf("cannot write the profile: %w", err)
	}
	return errors.Join(merged.Write(out), out.Close())
}

// profile profiles weir under one scenario.
func (r *runner) profile(ctx context.Context, sc scenario, weir peer) (*pprof.Profile, error) {
	_, s, g, end, err := r.underLoad(ctx, sc, weir)
	if err != nil {
		return nil, err
	}
	defer end()
	var p *pprof.Profile
	done := make(chan error, 1)
	go func() {
		var err error
		p, err = fetchProfile(ctx, s.Admin, seconds(r.settings.Closed))
		done <- err
	}()
	_, err = phase(ctx, g, load.Phase{Duration: seconds(r.settings.Closed)})
	return p, errors.Join(err, <-done)
}

// fetchProfile asks the admin API for a profile of the coming seconds.
func fetchProfile(ctx context.Context, admin string, during time.Duration) (*pprof.Profile, error) {
	url := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", admin, max(1, int(during.Seconds())))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot ask for a profile: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("cannot fetch a profile: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("cannot fetch a profile: found status %s: want 200", resp.Status)
	}
	p, err := pprof.Parse(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot read a profile: %w", err)
	}
	return p, nil
}
