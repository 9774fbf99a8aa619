// Package rules reads rules files into an engine.RuleSet, watches them for
// changes and keeps the generations that were good.
//
// All files that hookrun is pointed at are one generation: Load gives all of it
// or, with everything that is wrong in it and where, none. What a rule means is
// decided here in full, so that nothing about it can go wrong at run time that
// could have been said before.
//
//	files ─► read ─► yaml nodes ─► resolve (aliases, merges) ─► decode ─► Generation
//	           ▲                                                            │
//	        Watcher ◄── fsnotify, poll, Kick                 Archive ◄──────┘
//
// relay.yaml, which says what a relay of one's own serves, is read by the same
// means into a RelayFile.
package rules
