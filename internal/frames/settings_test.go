package frames

import (
	"bytes"
	"testing"

	h2 "golang.org/x/net/http2"
)

// Which SETTINGS may come, after others.
func TestPeerSettings(t *testing.T) {
	check := func(server bool, want h2.ErrCode, list ...[]h2.Setting) {
		t.Helper()
		p := PeerSettings{Server: server}
		got := h2.ErrCodeNo
		for _, settings := range list {
			var b bytes.Buffer
			f := h2.NewFramer(&b, &b)
			f.WriteSettings(settings...)
			frame, err := f.ReadFrame()
			if err != nil {
				t.Fatal(err)
			}
			if got != h2.ErrCodeNo {
				t.Errorf("%v: refused before the last ones", list)
			}
			got = p.Take(frame.(*h2.SettingsFrame))
		}
		if got != want {
			t.Errorf("server %v, %v: %v, want %v", server, list, got, want)
		}
	}
	one := func(id h2.SettingID, value uint32) []h2.Setting { return []h2.Setting{{ID: id, Val: value}} }
	both := func(want h2.ErrCode, list ...[]h2.Setting) {
		t.Helper()
		check(false, want, list...)
		check(true, want, list...)
	}
	both(h2.ErrCodeNo, nil, nil)
	both(h2.ErrCodeNo, one(0xabcd, 1<<32-1)) // unknown
	both(h2.ErrCodeNo, one(h2.SettingHeaderTableSize, 1<<32-1))
	both(h2.ErrCodeNo, one(h2.SettingMaxConcurrentStreams, 0))
	both(h2.ErrCodeNo, one(h2.SettingMaxHeaderListSize, 0))

	both(h2.ErrCodeNo, one(h2.SettingEnablePush, 0))
	both(h2.ErrCodeProtocol, one(h2.SettingEnablePush, 2))
	check(false, h2.ErrCodeNo, one(h2.SettingEnablePush, 1))
	check(true, h2.ErrCodeProtocol, one(h2.SettingEnablePush, 1))

	both(h2.ErrCodeNo, one(h2.SettingInitialWindowSize, 1<<31-1))
	both(h2.ErrCodeFlowControl, append(one(h2.SettingInitialWindowSize, 1), one(h2.SettingInitialWindowSize, 1<<31)...)) // the framer looks at the first
	both(h2.ErrCodeNo, one(h2.SettingMaxFrameSize, 1<<14))
	both(h2.ErrCodeProtocol, one(h2.SettingMaxFrameSize, 1<<14-1))
	both(h2.ErrCodeNo, one(h2.SettingMaxFrameSize, 1<<24-1))
	both(h2.ErrCodeProtocol, one(h2.SettingMaxFrameSize, 1<<24))

	both(h2.ErrCodeProtocol, one(h2.SettingEnableConnectProtocol, 2))
	both(h2.ErrCodeNo, one(h2.SettingEnableConnectProtocol, 0), one(h2.SettingEnableConnectProtocol, 1), one(h2.SettingEnableConnectProtocol, 1))
	check(true, h2.ErrCodeProtocol, one(h2.SettingEnableConnectProtocol, 1), one(h2.SettingEnableConnectProtocol, 0))
	check(false, h2.ErrCodeNo, one(h2.SettingEnableConnectProtocol, 1), one(h2.SettingEnableConnectProtocol, 0)) // it means nothing of clients

	both(h2.ErrCodeProtocol, one(h2.SettingNoRFC7540Priorities, 2))
	both(h2.ErrCodeNo, one(h2.SettingNoRFC7540Priorities, 1), nil, one(h2.SettingNoRFC7540Priorities, 1))
	both(h2.ErrCodeProtocol, nil, one(h2.SettingNoRFC7540Priorities, 1))
	both(h2.ErrCodeProtocol, one(h2.SettingNoRFC7540Priorities, 1), one(h2.SettingNoRFC7540Priorities, 0))
}
