package rules

import (
	"log/slog"
	"time"
)

// RelayWatchOptions are WatchOptions for relay.yaml.
type RelayWatchOptions struct {
	Path string // as given to LoadRelayFile

	// Load reads Path; required.
	Load func() (*RelayFile, []Problem)

	// Loaded is the content that was told about already: the Hash of the file in
	// use, or, where it was refused, what Fingerprint gave before it was read. Run
	// reports others.
	Loaded string

	// Changed takes what Load gave after a change: a file to use, or nil and what
	// is wrong, once for each content. It is called by Run; required.
	Changed func(*RelayFile, []Problem)

	// Also names the files of secrets: a change of one has the file read again. It
	// is called by Run. nil: none.
	Also func() []string

	Poll     time.Duration // between looks at the contents; 0: 2 s
	NoEvents bool          // rely on the poll alone
	Log      *slog.Logger  // nil: none
}

// NewRelayWatcher returns a watcher of relay.yaml. It does nothing before Run.
func NewRelayWatcher(o RelayWatchOptions) *Watcher {
	w := WatchOptions{Paths: []string{o.Path}, Loaded: o.Loaded, Also: o.Also, Poll: o.Poll, NoEvents: o.NoEvents, Log: o.Log}
	return newWatcher(w, func() loaded {
		f, problems := o.Load()
		tell := func() { o.Changed(f, problems) }
		if f == nil {
			return loaded{tell: tell}
		}
		return loaded{f.Hash, tell}
	})
}
