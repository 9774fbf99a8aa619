package cli

import "hookrun/actions"

// Launch turns this process into a command where args ask for that, and does not
// return then: a command with bounds is started by hookrun itself. It comes before
// anything else.
func Launch(args []string) { actions.Launch(args) }
