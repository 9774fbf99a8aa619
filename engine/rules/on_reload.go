package rules

// OnReload says what becomes of a generation that is read while another one is in
// force.
type OnReload struct {
	// Confirm is set where a generation is held until a person accepts it if it
	// decides otherwise of more than Over of the last day's events and rules.
	Confirm bool
	Over    int
}

// maxConfirmOver bounds OnReload.Over: beyond it nothing is ever held.
const maxConfirmOver = 1_000_000

// onReload reads the key of that name.
func (l *loader) onReload() OnReload {
	t, n := l.only("on_reload")
	if n == nil {
		return OnReload{}
	}
	const key = "confirm_if_changes_over"
	o, ok := t.keys.part("on_reload", "{"+key+": "+said(n, aCount, "5")+"}", key)
	if !ok || !o.needs("on_reload", "write {"+key+": 5}", key) {
		return OnReload{}
	}
	return OnReload{Confirm: true, Over: o.between(key, 0, maxConfirmOver, 0, "0 holds whatever changes a single decision")}
}
