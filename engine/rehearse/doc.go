// Package rehearse asks rules about the past: which events that are kept they
// would take, and what they would do with them, compared with what happened then
// or with what other rules make of the same events. Lint looks for what hardly is
// as meant in conditions, by what came.
//
// It changes, keeps and runs nothing. Events are read page by page, the newest
// first, and asked about by several goroutines; what is in memory at one time has
// a bound that does not depend on how many events there are.
//
//	Source ─► read ─► pages ─► workers, one page each ─► merged in the order of the pages
//
// What can't be asked again is taken as it was: that a rule did not know the
// sender. What time and other runs decide (dedupe, throttle, lanes) is no part of a
// comparison: it is about which rules match, and with which arguments.
package rehearse
