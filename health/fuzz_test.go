package health

import "testing"

// FuzzServingStatus checks that only a HealthCheckResponse whose status is SERVING
// passes, and that no input makes the reader panic.
func FuzzServingStatus(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02\x08\x01"))
	f.Add([]byte("\x00\x00\x00\x00\x02\x08\x02"))
	f.Add([]byte("\x00\x00\x00\x00\x00"))
	f.Add([]byte("\x01\x00\x00\x00\x02\x08\x01"))
	f.Add([]byte("\x00\xff\xff\xff\xff\x08\x01"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if err := servingStatus(body); err == nil && (len(body) < 7 || body[0] != 0) {
			t.Errorf("%x passes", body)
		}
	})
}
