package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"weir/cache"
	"weir/cache/rule"
	"weir/config"
	"weir/internal/head"
)

// The methods that weir obeys on a server that has purge_from.
const (
	methodPurge     = "PURGE"
	methodPurgeKeys = "PURGEKEYS"
	methodPurgeTags = "PURGETAGS"
)

// purging says that the request asks to end entries, on a server that obeys such requests.
func (x *Exchange) purging() bool {
	if len(x.proxy.purgeFrom) == 0 {
		return false
	}
	m := x.Request.Method()
	return bytes.Contains(m, purgeWord) || bytes.Contains(m, banWord)
}

// purgeWord and banWord are in the names of all methods by which programs ask caches to end
// entries: URLPURGE and URIBAN are others.
var purgeWord, banWord = []byte("PURGE"), []byte("BAN")

// purge answers a request to end entries, if its client may ask for that.
func (x *Exchange) purge() {
	allowed := slices.ContainsFunc(x.proxy.purgeFrom, func(p config.Prefix) bool {
		return x.ClientAddr.IsValid() && p.Contains(x.ClientAddr.Unmap())
	})
	if !allowed {
		x.fail(403, CausePurge)
		return
	}
	if !x.cached.asked() {
		x.askCache()
	}
	x.Result.Cause = CausePurge
	sel, err := selection(&x.Request)
	if err == nil && !x.Body.Done() {
		err = errors.New("found a body: weir does not know what that selects")
	}
	var done cache.Purged
	if err == nil {
		done, err = x.proxy.cache.PurgeRequest(x.cached.request, &sel)
	}
	if err != nil {
		x.Result.Err = err
		x.answerPurge(501, map[string]any{"error": err.Error()})
		return
	}
	answer := map[string]any{"purged": done.Entries}
	status := 200
	if len(done.Pending) > 0 {
		answer["pending"], status = done.Pending, 202
	}
	x.answerPurge(status, answer)
}

func (x *Exchange) answerPurge(status int, answer map[string]any) {
	text, err := json.Marshal(answer)
	if err != nil {
		panic("BUG: cannot encode the answer to a purge: " + err.Error())
	}
	x.ownHead(status)
	x.Response.Add(head.ContentType, []byte("application/json"))
	x.send(append(text, '\n'))
}

// selectors read the request fields that say what a purge is to end, by their names in lower
// case. An error says what weir does not know.
var selectors = map[string]func(sel *cache.Selection, value string) error{
	"purge-mode":        purgeMode,
	"fastly-soft-purge": fastlySoft,
	// Surrogate keys: of Fastly, Cloudflare, Varnish's xkey and FOSHttpCache.
	"surrogate-key":  groups,
	"cache-tag":      groups,
	"cache-tags":     groups,
	"xkey":           groups,
	"xkey-purge":     groups,
	"xkey-softpurge": softGroups,
	"x-cache-tags":   groups,
	// Magento, plugins of WordPress, Symfony.
	"x-magento-tags-pattern": magentoTags,
	"x-purge-method":         purgeMethod,
	"clear-cache":            clearCache,
}

// otherSelectors begin the names of fields that select as well, in ways that weir does not
// know. A purge that ended something else, or nothing, would be taken for done.
var otherSelectors = []string{
	"purge-", "x-purge-", "ban-", "x-ban", "varnish-", "xkey", "x-xkey", "surrogate-key", "cache-tag", "x-cache-tag", "x-magento-tags",
	"x-drupal-cache", "x-acquia-purge", "x-vc-purge", "x-invalidate", "x-pool", "x-host", "x-url", "x-content-type", "edge-cache-tag", "x-litespeed-",
	"x-tags", "tags", "x-key", "x-surrogate-key", "x-refresh", "invalidate",
}

var purgeMethodField = head.NewName("X-Purge-Method")

// selection returns what a request asks to end. An error says what weir does not know.
func selection(h *head.Head) (sel cache.Selection, err error) {
	method := string(h.Method())
	switch method {
	case methodPurge, methodPurgeKeys, methodPurgeTags:
	default:
		return sel, fmt.Errorf("found method %s: want PURGE, PURGEKEYS or PURGETAGS", method)
	}
	if bytes.HasSuffix(h.Target(), []byte{'*'}) && len(h.Get(purgeMethodField)) == 0 {
		return sel, errors.New("found a URL with * behind it: want X-Purge-Method: regex, and .* behind the start of a URL")
	}
	for f := range h.All() {
		name := strings.ToLower(string(f.Name))
		if read := selectors[name]; read != nil {
			if err := read(&sel, string(f.Value)); err != nil {
				return sel, fmt.Errorf("%s: %w", f.Name, err)
			}
		} else if slices.ContainsFunc(otherSelectors, func(start string) bool { return strings.HasPrefix(name, start) }) {
			return sel, fmt.Errorf("found the field %s: weir does not know what that selects", f.Name)
		}
	}
	if method != methodPurge && len(sel.Groups) == 0 {
		return sel, fmt.Errorf("found method %s without surrogate keys: want xkey-purge, xkey-softpurge or X-Cache-Tags", method)
	}
	return sel, nil
}

func purgeMode(sel *cache.Selection, value string) error {
	switch value {
	case "soft":
		sel.Soft = true
	case "", "hard":
	default:
		return fmt.Errorf(`found %q: want "soft" or "hard"`, value)
	}
	return nil
}

func fastlySoft(sel *cache.Selection, value string) error {
	switch value {
	case "1":
		sel.Soft = true
	case "", "0":
	default:
		return fmt.Errorf(`found %q: want "1" or "0"`, value)
	}
	return nil
}

func groups(sel *cache.Selection, value string) error {
	list := rule.SurrogateKeys(nil, []byte(value))
	if len(list) == 0 {
		return errors.New("found no surrogate key: want at least one")
	}
	sel.Groups = append(sel.Groups, list...)
	return nil
}

func softGroups(sel *cache.Selection, value string) error {
	sel.Soft = true
	return groups(sel, value)
}

// magentoTags reads "((^|,)cat_p_1(,|$))|((^|,)cms_p_2(,|$))", or ".*" for everything.
func magentoTags(sel *cache.Selection, value string) error {
	if value == ".*" {
		sel.All = true
		return nil
	}
	for pattern := range strings.SplitSeq(value, "|((^") {
		pattern = strings.TrimPrefix(pattern, "((^")
		tag, begins := strings.CutPrefix(pattern, "|,)")
		tag, ends := strings.CutSuffix(tag, "(,|$))")
		if !begins || !ends || !plain(tag) {
			return fmt.Errorf("found %q: want tags as in ((^|,)cat_p_1(,|$))|((^|,)cms_p_2(,|$)), or .*", value)
		}
		sel.Groups = append(sel.Groups, tag)
	}
	return nil
}

// plain says whether an expression stands for itself.
func plain(expression string) bool {
	return expression != "" && !strings.ContainsAny(expression, `^$*+?()[]{}|\ ,`)
}

// purgeMethod reads what plugins of WordPress say of the URL.
func purgeMethod(sel *cache.Selection, value string) error {
	switch value {
	case "", "default", "exact":
	case "regex":
		sel.Pattern = true
	default:
		return fmt.Errorf(`found %q: want "default", "exact" or "regex"`, value)
	}
	return nil
}

func clearCache(sel *cache.Selection, value string) error {
	if value != "true" {
		return fmt.Errorf(`found %q: want "true"`, value)
	}
	sel.All = true
	return nil
}
