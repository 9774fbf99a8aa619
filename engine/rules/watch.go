package rules

import (
	"context"
	"crypto/sha256"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// How a Watcher waits.
const (
	defaultPoll = 2 * time.Second
	settleTime  = 100 * time.Millisecond // without a change before files are read
	maxSettle   = 5 * time.Second        // then they are read although they go on changing
	maxGitWait  = 30 * time.Second       // for git to end what it does in the folder
)

// WatchOptions say what to watch, and whom to tell.
type WatchOptions struct {
	Paths []string // as given to Load

	// Load reads Paths; required.
	Load func() (*Generation, []Problem)

	// Loaded is the content that was told about already: the Hash of the
	// generation in use, or, where the files were refused, what Fingerprint gave
	// before they were read. Run reports others.
	Loaded string

	// Changed takes what Load gave after a change: a generation to use, or nil
	// and what is wrong, once for each content. It is called by Run; required.
	Changed func(*Generation, []Problem)

	// Also names files that are read as part of the rules, those of secrets: a
	// change of one has the rules read again. It is called by Run. nil: none.
	Also func() []string

	Poll     time.Duration // between looks at the contents; 0: 2 s
	NoEvents bool          // rely on the poll alone
	Log      *slog.Logger  // nil: none
}

// Watcher notices changes of the rules files, however they are made.
//
// What the files hold decides: their contents are read every Poll and compared
// by hash. Events of the file system only make it fast, as not every file
// system sends them, and no single file can be watched through all ways to save
// it: the folders are watched, of links and of what they lead to.
type Watcher struct {
	o    WatchOptions  // without Load and Changed, which are load
	load func() loaded // reads the files
	kick chan struct{} // holds one; never closed

	// Owned by Run.
	seen    string                 // fingerprint of what was told last; "": not known
	events  *fsnotify.Watcher      // nil without events
	folders map[string]fs.FileInfo // watched, as they were then
	also    map[string]string      // content of the files of Also, hashed, by path
}

// loaded is what the files gave.
type loaded struct {
	hash string // of what is good, as Fingerprint gives it; "": it is refused
	tell func() // tells Changed
}

// NewWatcher returns a watcher. It does nothing before Run.
func NewWatcher(o WatchOptions) *Watcher {
	return newWatcher(o, func() loaded {
		g, problems := o.Load()
		tell := func() { o.Changed(g, problems) }
		if g == nil {
			return loaded{tell: tell}
		}
		return loaded{g.Hash, tell}
	})
}

func newWatcher(o WatchOptions, load func() loaded) *Watcher {
	if o.Poll == 0 {
		o.Poll = defaultPoll
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	w := &Watcher{o: o, load: load, kick: make(chan struct{}, 1), seen: o.Loaded, folders: map[string]fs.FileInfo{}}
	w.alsoChanged()
	return w
}

// Kick has the files read again, changed or not: a secret's own file may have
// changed. It never blocks.
func (w *Watcher) Kick() {
	select {
	case w.kick <- struct{}{}:
	default: // one is waiting already, and not begun
	}
}

// change is one that was noticed and not told yet.
type change struct {
	forced  bool
	since   time.Time // zero: there is none
	settled time.Time // since when it is waited for the files to settle: git may have kept us before
	last    string    // fingerprint at the last look
}

// Run watches until ctx ends, and returns nil then.
func (w *Watcher) Run(ctx context.Context) error {
	events, errs := w.open()
	defer w.close()
	poll := time.NewTicker(w.o.Poll)
	defer poll.Stop()
	look := time.NewTimer(0) // what changed since Loaded was read
	defer look.Stop()

	var c change
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.kick:
			c.forced = true
			look.Reset(0)
		case <-events:
			// Each event puts the look off, but not for ever: something may write to
			// the folder all the time.
			if c.since.IsZero() {
				c.since = time.Now()
			}
			if time.Since(c.since) < maxSettle {
				look.Reset(settleTime)
			}
		case err := <-errs:
			w.o.Log.Warn("watching files lost events", "err", err)
			look.Reset(settleTime)
		case <-poll.C:
			c.forced = w.alsoChanged() || c.forced
			if c.since.IsZero() {
				look.Reset(0)
			}
		case <-look.C:
			if again := w.look(&c); again > 0 {
				look.Reset(again)
			}
		}
	}
}

// alsoChanged reports whether a file of Also holds something else than at the
// last call. Of one that was not known then it can't be told.
func (w *Watcher) alsoChanged() bool {
	if w.o.Also == nil {
		return false
	}
	changed := false
	now := map[string]string{}
	for _, path := range w.o.Also() {
		data, err := readFile(path, maxSecret)
		sum := sha256.Sum256(data)
		now[path] = string(sum[:])
		if err != nil { // one that is gone for a moment is being replaced
			now[path] = w.also[path]
		}
		if was, known := w.also[path]; known && was != now[path] {
			changed = true
		}
	}
	w.also = now
	return changed
}

// look compares the files with what was told last, and tells what is new once
// they have settled. Otherwise it returns when to look again; 0: nothing is
// pending.
func (w *Watcher) look(c *change) time.Duration {
	w.follow()
	now := Fingerprint(w.o.Paths)
	if now == w.seen && !c.forced {
		*c = change{}
		return 0
	}
	if c.since.IsZero() {
		c.since = time.Now()
	}
	if w.gitBusy() && time.Since(c.since) < maxGitWait {
		c.last, c.settled = "", time.Time{}
		return settleTime
	}
	if c.settled.IsZero() {
		c.settled = time.Now()
	}
	patient := time.Since(c.settled) < maxSettle
	if now != c.last && patient {
		c.last = now
		return settleTime
	}
	got := w.load()
	after := Fingerprint(w.o.Paths)
	if after != now && patient {
		c.last = after // it changed while it was read: this may be half of each
		return settleTime
	}
	switch {
	case got.hash != "":
		w.seen = got.hash // whatever stood there before and after
	case after == now:
		w.seen = now
	default:
		w.seen = "" // nobody knows what was refused: look again
	}
	*c = change{}
	got.tell()
	return 0
}

// open starts the events of the file system, nil channels where there are none.
func (w *Watcher) open() (<-chan fsnotify.Event, <-chan error) {
	if w.o.NoEvents {
		return nil, nil
	}
	events, err := fsnotify.NewWatcher()
	if err != nil {
		w.o.Log.Warn("the file system gives no events, files are polled", "every", w.o.Poll, "err", err)
		return nil, nil
	}
	w.events = events
	return events.Events, events.Errors
}

func (w *Watcher) close() {
	if w.events != nil {
		w.events.Close() // what it has left to say is for nobody
	}
}

// follow watches the folders that the files stand in now. A folder that was
// replaced by another of its name is watched anew.
func (w *Watcher) follow() {
	if w.events == nil {
		return
	}
	want := map[string]bool{}
	for _, path := range w.o.Paths {
		foldersOf(path, want)
		files, _ := filesOf(path) // one that is not there has its folder watched
		for _, file := range files {
			if isLink(file) {
				foldersOf(file, want)
			}
		}
	}
	for folder, was := range w.folders {
		if now, err := os.Stat(folder); !want[folder] || err != nil || !os.SameFile(was, now) {
			w.events.Remove(folder) // gone with the folder, mostly
			delete(w.folders, folder)
		}
	}
	for folder := range want {
		if w.folders[folder] != nil {
			continue
		}
		info, err := os.Stat(folder)
		if err == nil && w.events.Add(folder) == nil { // else the poll has to do
			w.folders[folder] = info
		}
	}
}

// foldersOf adds the folders in which a change can make path mean another file:
// its own, that of what it leads to, and that of every link on the way.
func foldersOf(path string, to map[string]bool) {
	path = absolute(path)
	ways := []string{path}
	if real, err := filepath.EvalSymlinks(path); err == nil && real != path {
		ways = append(ways, real)
	}
	for _, way := range ways {
		to[filepath.Dir(way)] = true
		if info, err := os.Stat(way); err == nil && info.IsDir() {
			to[way] = true
		}
		for at := way; at != filepath.Dir(at); at = filepath.Dir(at) {
			if isLink(at) {
				to[filepath.Dir(at)] = true
			}
		}
	}
}

func isLink(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.Mode()&fs.ModeSymlink != 0
}

// gitBusy reports whether git is at work on a checkout that the files are part
// of: it writes one file after the other.
func (w *Watcher) gitBusy() bool {
	for _, path := range w.o.Paths {
		path = absolute(path)
		if real, err := filepath.EvalSymlinks(path); err == nil {
			path = real
		}
		for at := path; at != filepath.Dir(at); at = filepath.Dir(at) {
			if dir := gitDir(at); dir != "" {
				if _, err := os.Lstat(filepath.Join(dir, "index.lock")); err == nil {
					return true
				}
				break
			}
		}
	}
	return false
}

// gitDir returns the folder that git keeps for a checkout whose top is folder,
// "" where it is none.
func gitDir(folder string) string {
	path := filepath.Join(folder, ".git")
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	if info.IsDir() {
		return path
	}
	data, err := readFile(path, 4<<10) // of a worktree or submodule: "gitdir: PATH"
	dir, ok := strings.CutPrefix(strings.TrimSpace(string(data)), "gitdir: ")
	if err != nil || !ok {
		return ""
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(folder, dir)
	}
	return dir
}
