package browser_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

var (
	screenshots = flag.String("screenshots", "", "a folder into which TestScreenshots writes pictures of the page")
	only        = flag.String("only", "", "the picture that is taken; all if this is empty")
	warm        = flag.Duration("warm", 90*time.Second, "for how long TestScreenshots sends traffic before")
)

// TestScreenshots takes the pictures of the documentation.
func TestScreenshots(t *testing.T) {
	if *screenshots == "" {
		t.Skip("pictures are taken by make screenshots")
	}
	s := perform(t, strings.NewReplacer(`["SHOP-A", "SHOP-B"]`, `["SHOP-A", "SHOP-B", "SHOP-GONE"]`).Replace(plain)+"[upstreams.shop.health.passive]\nfailures = 3\n")
	for _, path := range []string{"pets/v1/10.0.3.17:8080", "pets/v1/10.0.3.18:8080", "pets/v2/10.0.3.21:8080", "orders/v1/10.0.4.2:9000"} {
		register(t, strings.TrimSuffix(s.page, "/ui/"), path, "5m")
	}
	ctx, stop := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { s.traffic(ctx, 24) })
	defer running.Wait()
	defer stop()
	time.Sleep(*warm)
	for _, shot := range []struct{ name, at, ready, looks string }{
		{"overview", "#/overview", ".chart canvas", "light dark phone"},
		{"exchanges", "#/exchanges", ".x", "light phone"},
		{"exchange", "#/exchanges/{status=400}?filter=status%3D400", ".segments", "light phone"},
		{"statistics", "#/statistics", "tbody tr", "light"},
		{"upstreams", "#/upstreams", "tbody tr", "dark"},
		{"cache", "#/cache", ".shares", "light"},
		{"explain", "#/explain?url=http://shop.example/shop/pictures/1.png", "#targets-card", "light phone"},
		{"discovery", "#/discovery", "tbody tr", "dark"},
	} {
		if *only != "" && !strings.HasPrefix(shot.name, *only) {
			continue
		}
		for look := range strings.FieldsSeq(shot.looks) {
			scheme, width, height := look, int64(1280), int64(860)
			if look == "phone" {
				scheme, width, height = "light", 390, 800
			}
			s.shoot(t, shot.name+"-"+look, shot.at, shot.ready, scheme, width, height)
		}
	}
}

// shoot takes a picture of the page in a scheme of colours and a width.
func (s *stage) shoot(t *testing.T, name, at, ready, scheme string, width, height int64) {
	b := open(t, "about:blank", chromedp.EmulateViewport(width, height))
	command(b, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
	if before, rest, found := strings.Cut(at, "{"); found {
		filter, after, _ := strings.Cut(rest, "}")
		at = before + s.someID(filter) + after
	}
	b.do(chromedp.Navigate(s.page + at))
	b.until("document.querySelector('" + ready + "')")
	time.Sleep(2500 * time.Millisecond) // rates need two answers
	picture, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*screenshots, name+".png"), picture, 0o644); err != nil {
		t.Fatal(err)
	}
}
