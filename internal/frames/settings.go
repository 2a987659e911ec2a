package frames

import (
	h2 "golang.org/x/net/http2"
)

// PeerSettings is what rules about SETTINGS that come (RFC 9113 section 6.5.2, RFC 8441 section 3, RFC 9218 section 2.1) need to
// know of those that came before. The zero value is that of a client.
type PeerSettings struct {
	// Server says that they are those of a server.
	Server bool

	// begun says that the first ones have come, connect that they allow extended CONNECT, priorities what they say of those of RFC 7540.
	begun, connect bool
	priorities     uint32
}

// Take returns the error of the connection that SETTINGS are; h2.ErrCodeNo if they are sound.
func (p *PeerSettings) Take(f *h2.SettingsFrame) h2.ErrCode {
	for i := range f.NumSettings() {
		s := f.Setting(i)
		if err := s.Valid(); err != nil {
			if s.ID == h2.SettingInitialWindowSize {
				return h2.ErrCodeFlowControl
			}
			return h2.ErrCodeProtocol
		}
		switch s.ID {
		case h2.SettingEnablePush:
			if p.Server && s.Val != 0 {
				return h2.ErrCodeProtocol
			}
		case h2.SettingEnableConnectProtocol:
			if p.Server && p.connect && s.Val == 0 {
				return h2.ErrCodeProtocol
			}
			p.connect = s.Val == 1
		case h2.SettingNoRFC7540Priorities:
			if s.Val > 1 || p.begun && s.Val != p.priorities {
				return h2.ErrCodeProtocol
			}
			p.priorities = s.Val
		}
	}
	p.begun = true
	return h2.ErrCodeNo
}
