// Package actions holds what a rule can do: run a command, run a shell script,
// write a file, make an HTTP call. Each kind is a struct that a loader fills
// and that implements engine.Action.
//
// Each kind first renders, which is pure: the event becomes a concrete command,
// path or request. Only then does it act. What a sender wrote gets to a command
// as one argument, one value or one stream, and never becomes code, an option or
// a path outside the roots. It becomes a host only where the rule says so, and
// then one of the public internet.
//
// A command ends with hookrun, unless it is detached: then it has a session of
// its own and nothing but files in common with hookrun, and the step goes on
// with it when hookrun is back.
//
// A command can run as another user and with limits. Hookrun starts itself for
// that, so that every program that runs actions has to begin with Launch.
//
// Commands are no sandbox: a command that makes a session of its own (setsid)
// leaves its process group, and nothing here finds it again.
package actions
