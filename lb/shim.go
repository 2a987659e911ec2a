package lb

const AlreadyReported = Told

func (u *Upstream) Report(t *Target, o Outcome) { u.Learn(t, o) }
