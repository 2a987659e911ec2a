package inspect

import (
	"weir/admin"
	"weir/proxy"
)

// Replay makes x, whose start and request are set and which was not served yet, one that is
// recorded whatever its route says, as a repetition of the exchange of that id. The result has what is kept of
// it when it has ended.
func (p *Plan) Replay(x *proxy.Exchange, of string) (result <-chan *admin.ExchangeDetail) {
	r := newRecording(p, p.replays, x.Start)
	r.replayOf = of
	kept := make(chan *admin.ExchangeDetail, 1)
	r.result = kept
	x.Record = r
	return kept
}
