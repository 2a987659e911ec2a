package inspect

import (
	"fmt"
	"strconv"
	"strings"

	"weir/admin"
	"weir/proxy"
)

// why says in sentences why the exchange went where it went.
func (r *recording) why(x *proxy.Exchange) (w admin.Why) {
	w.Route = r.route.why
	if x.Route == nil {
		w.Route = "no route fits, or the request was refused before one was looked for"
	}
	w.Target = r.whyTarget(x)
	w.Cache = whyCache(&x.Result.Cache)
	return w
}

func (r *recording) whyTarget(x *proxy.Exchange) string {
	switch {
	case x.Upstream == nil:
		return ""
	case x.Result.Target == nil && x.Result.Cache.Answered:
		return "no target was asked: the cache answered"
	case x.Result.Target == nil:
		return "no target was asked"
	}
	text := "of the " + strconv.Itoa(len(x.Upstream.Set.Targets())) + " targets of upstream " + strconv.Quote(x.Upstream.Set.Name())
	if name := r.plan.balance[x.Upstream.Set.Name()]; name != "" {
		text += ", " + name + " chose this one"
	}
	if len(r.tries) > 1 {
		var before []string
		for _, t := range r.tries[:len(r.tries)-1] {
			reason := t.Cause
			if t.Cause == proxy.CauseOK.String() {
				reason = fmt.Sprint("status ", t.Status)
			}
			before = append(before, t.Target+" ("+reason+")")
		}
		text += ", after " + strings.Join(before, ", ")
	}
	return text
}

func whyCache(c *proxy.CacheResult) string {
	if !c.Asked {
		return ""
	}
	text := "the cache says " + c.Outcome.String()
	if reason := c.Reason.String(); reason != "" {
		text += " (" + reason + ")"
	}
	switch {
	case c.Collapsed:
		text += "; the fetch of another exchange answered"
	case c.Answered:
		text += "; a stored response answered"
	}
	switch {
	case c.Stored && c.Hint.String() != "":
		text += "; the response was stored, but is not fresh: " + c.Hint.String()
	case c.Stored:
		text += "; the response was stored"
	case c.Unstored.String() != "":
		text += "; the response was not stored: " + c.Unstored.String()
	}
	return text
}

// notes puts what else is to be known into k.
func (r *recording) notes(k *kept, x *proxy.Exchange) {
	add := func(format string, args ...any) { k.notes = append(k.notes, fmt.Sprintf(format, args...)) }
	if !k.Complete {
		add("this exchange was not sampled: it is kept because it is %s, without bodies and attempts", k.Kind)
	}
	if m := k.messages[partResponse]; m != nil && k.Complete {
		if now := m.field("content-encoding"); now != r.coding && r.kind != "" {
			add("weir compressed the response (%s); the body is shown as it was before", now)
		}
	}
	for i, name := range [...]string{"request", "response"} {
		b := &r.bodies[i]
		m := k.messages[[...]part{partRequest, partResponse}[i]]
		switch {
		case b.full:
			add("the %s's body was cut, because too many bodies passed at once for the memory of the recorder", name)
		case m != nil && m.body != nil && m.body.kept > 0 && m.body.text == "" && !m.body.decoded:
			add("the %s's body is not kept: weir cannot decode %q, so that secrets could not be masked", name, m.body.coding)
		}
	}
	if x.Result.Cause == proxy.CauseUpgraded {
		add("what passed after the upgrade is not recorded")
	}
}
