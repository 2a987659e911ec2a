package proxy

// hedgeResult is what became of a second attempt that was sent because the first
// was slow.
type hedgeResult uint8

const (
	// hedgeWon: it answered first.
	hedgeWon hedgeResult = iota
	// hedgeLost: the first attempt answered first after all.
	hedgeLost
	// hedgeFailed: it failed before the first attempt ended.
	hedgeFailed
	// hedgeRefused: the budget or the lack of another target forbade it.
	hedgeRefused

	hedgeResults
)

func (r hedgeResult) String() string {
	return [hedgeResults]string{"won", "lost", "failed", "refused"}[r]
}
