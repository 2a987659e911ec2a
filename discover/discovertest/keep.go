package discovertest

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"weir/config"
	"weir/lb"
	"weir/server"
)

// The origins that Keep does something to.
const (
	well = iota
	drained
	ejected
)

// keeping is a weir whose targets a place has, some of them out of service.
type keeping struct {
	Place
	*origins
	cfg  *config.Config
	weir *server.Server
	// before is what was known of the targets, by the origin's number.
	before map[int]known
	list   []lb.Endpoint
}

// known is what weir knows of a target.
type known struct {
	Name              string
	State             string
	Weight            int
	Succeeded, Failed int64
}

// Keep shows that the operator's drain, ejections and counts of targets that a place has last over a reload, a
// change of their weights if it knows any, a restart of the place's server and a cut of its connections.
func Keep(p Place) (err error) {
	k := &keeping{Place: p}
	if k.origins, err = listen(); err != nil {
		return err
	}
	defer k.origins.close()
	for i := range 3 {
		k.list = append(k.list, k.endpoint(i, 1))
	}
	if err := k.Set(k.list); err != nil {
		return err
	}
	if k.cfg, err = parse([]string{fmt.Sprintf("%q", p.URL(k.port))}, "upstreams.found.health.passive = { failures = 1, max_ejected = 1, eject = \"1h\", eject_max = \"1h\" }\n"); err != nil {
		return err
	}
	if k.weir, err = start(k.cfg, p, nil); err != nil {
		return err
	}
	defer k.weir.Close()
	if err := k.prepare(); err != nil {
		return err
	}
	return errors.Join(
		k.after("a reload", true, func() error { return k.weir.Reload(k.cfg) }, func(map[int]known) bool { return true }),
		k.after("another weight", !k.Unweighted, k.weigh, func(now map[int]known) bool { return now[well].Weight == heavy }),
		k.after("a restart", true, func() error { return errors.Join(k.Stop(), k.Start(), k.add(3)) }, has(3)),
		k.after("a cut", true, func() error { return errors.Join(k.Cut(), k.add(4)) }, has(4)),
		k.after("another reload", true, func() error { return k.weir.Reload(k.cfg) }, func(map[int]known) bool { return true }),
	)
}

// prepare makes one target drain and another one be ejected, and all have counts.
func (k *keeping) prepare() error {
	k.sick.Store(ejected)
	address := "http://" + k.weir.Addr("main").String() + "/"
	err := eventually("one target is ejected", func() bool {
		r, err := http.Get(address)
		if err == nil {
			r.Body.Close()
		}
		k.before = k.look()
		return len(k.before) == 3 && k.before[ejected].State == "ejected" && k.before[well].Succeeded > 0
	})
	if err != nil {
		return err
	}
	body := fmt.Sprintf(`{"upstream": "found", "target": %q, "on": true}`, k.before[drained].Name)
	r, err := http.Post("http://"+k.weir.AdminAddr().String()+"/drain", "application/json", strings.NewReader(body))
	if err != nil {
		return err
	}
	if r.Body.Close(); r.StatusCode != http.StatusOK {
		return errors.New("the answer to a drain is " + r.Status)
	}
	k.before = k.look()
	return nil
}

// look returns what is known of the targets, by the number of their origins.
func (k *keeping) look() map[int]known {
	r, err := http.Get("http://" + k.weir.AdminAddr().String() + "/upstreams")
	if err != nil {
		return nil
	}
	defer r.Body.Close()
	var answer struct {
		Upstreams []struct{ Targets []known }
	}
	if err := json.NewDecoder(r.Body).Decode(&answer); err != nil {
		return nil
	}
	all := make(map[int]known)
	for _, t := range answer.Upstreams[0].Targets {
		for i := range count {
			if strings.HasSuffix(t.Name, "#"+addressOf(i)) || strings.Contains(t.Name, addressOf(i)+":") {
				all[i] = t
			}
		}
	}
	return all
}

// weigh gives all endpoints another weight.
func (k *keeping) weigh() error {
	for i := range k.list {
		k.list[i].Weight = heavy
	}
	return k.Set(slices.Clone(k.list))
}

// add adds the origin of a number.
func (k *keeping) add(number int) error {
	k.list = append(k.list, k.endpoint(number, 1))
	return k.Set(slices.Clone(k.list))
}

func has(number int) func(map[int]known) bool {
	return func(now map[int]known) bool { return now[number].Name != "" }
}

// after does something, waits until weir has followed, and compares what is known of the targets.
func (k *keeping) after(what string, can bool, do func() error, followed func(now map[int]known) bool) error {
	if !can {
		return nil
	}
	if err := do(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	var now map[int]known
	if err := eventually("weir followed "+what, func() bool { now = k.look(); return followed(now) }); err != nil {
		return err
	}
	var errs []error
	for i, was := range k.before {
		is := now[i]
		is.Weight = was.Weight
		if is != was {
			errs = append(errs, fmt.Errorf("%s: of the target %s weir knows %+v, before %+v", what, was.Name, is, was))
		}
	}
	return errors.Join(errs...)
}
