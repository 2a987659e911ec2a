package proxy

import "testing"

func TestBuffer(t *testing.T) {
	var b buffer
	defer b.release()
	size := func(what string, want int) {
		t.Helper()
		if len(b.bytes) != want {
			t.Errorf("%s: %d bytes, want %d", what, len(b.bytes), want)
		}
	}
	size("none", 0)
	b.take(0)
	size("the smallest", 4<<10)
	b.fit(4 << 10)
	size("after it was filled", 16<<10)
	b.fit(16 << 10)
	size("after it was filled again", copyBuffer)
	b.fit(copyBuffer)
	size("the largest", copyBuffer)
	b.fit(5000)
	size("in use", copyBuffer)
	b.fit(1)
	size("nearly empty", 16<<10)
	b.take(20 << 10)
	size("at most 20 KiB", 16<<10)
	b.release()
	size("given back", 0)
}
