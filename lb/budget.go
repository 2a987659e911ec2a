package lb

import "time"

// budgetSlice is a tenth of what a Budget calls recent.
const budgetSlice = int64(time.Second)

// Budget bounds retries and hedges to a share of the exchanges of the last ten
// seconds, plus a floor, so that an upstream in trouble never gets multiplied
// load. All generations of an upstream count together.
type Budget struct {
	share  float64
	floor  int
	counts *budgetCounts
}

// budgetCounts is the part of a Budget that survives a reload.
type budgetCounts struct {
	exchanges, retries window
}

// Deposit counts an exchange; once for each, whatever becomes of it.
func (b *Budget) Deposit(now int64) { b.counts.exchanges.add(now, budgetSlice, 1) }

// Withdraw asks for one more attempt and counts it if it is allowed.
func (b *Budget) Withdraw(now int64) bool {
	// Counting first keeps the bound exact when many ask at once.
	b.counts.retries.add(now, budgetSlice, 1)
	if float64(b.counts.retries.sum(now, budgetSlice)) <= b.allowed(now) {
		return true
	}
	b.counts.retries.add(now, budgetSlice, -1)
	return false
}

// Refund gives back an attempt that was allowed but not made.
func (b *Budget) Refund(now int64) { b.counts.retries.add(now, budgetSlice, -1) }

// Used returns the retries of the last ten seconds, and how many are allowed.
func (b *Budget) Used(now int64) (retries, allowed int) {
	return b.counts.retries.sum(now, budgetSlice), int(b.allowed(now))
}

func (b *Budget) allowed(now int64) float64 {
	return float64(b.floor) + b.share*float64(b.counts.exchanges.sum(now, budgetSlice))
}
