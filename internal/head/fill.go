package head

// Fill adds a field that did not come in a scanned head, by the checks that a scan
// makes: the front ends of HTTP/2 and later fill a head with it, after StartRequest or
// StartResponse, and call FinishRequest at the end of a request. It returns nil or a *Defect,
// after which the head is of no use.
func (h *Head) Fill(name, value []byte) error {
	if len(name) == 0 || tokenEnd(name) != len(name) {
		return DefectName
	}
	if !sound(value) {
		return DefectValue
	}
	start, from := appendLine(h, name, nil, value)
	f := h.newField()
	h.indexLine(f, start, from)
	return h.note(f, lookup(name), h.Status == 0)
}

// FinishRequest checks what can be judged only of a whole request: the form of its
// target, and the fields that contradict each other or are missing. It takes a target in
// absolute-form apart, as ScanRequest does.
func (h *Head) FinishRequest() error {
	if tokenEnd(h.Method()) != len(h.Method()) || h.method.empty() {
		return DefectMethod
	}
	if h.target.empty() || !visible(h.Target()) {
		return DefectTarget
	}
	if err := h.checkTarget(h.Method(), h.Target()); err != nil {
		return err
	}
	if err := h.finishRequest(); err != nil {
		return err
	}
	h.originForm()
	return nil
}
