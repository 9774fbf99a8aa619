package actions

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"
	"time"
)

// Bounds are what a command runs with, where that is less than hookrun itself
// has. Its zero value changes nothing.
type Bounds struct {
	RunAs  *Account     // nil: hookrun's own user. Unix only, and only root can be another
	Umask  *fs.FileMode // nil: hookrun's own. Unix only
	Limits Limits
}

// Account is a user of the system, with the groups of the user.
type Account struct {
	Name   string
	Home   string
	UID    int
	GID    int
	Groups []int // supplementary ones
}

// Limits bound what a command uses; 0 is no bound of ours. Those of CPU, Memory
// and Files are for each of its processes (setrlimit(2)) and only on Unix. None
// is above what hookrun itself has, unless root raises it.
type Limits struct {
	CPU    time.Duration // in whole seconds; SIGXCPU ends what uses more
	Memory int64         // bytes of address space. Linux only
	Files  int           // open files
	Output int64         // bytes of stdout and stderr together, beyond which the command is ended
}

// launched reports whether the bounds have to be set by the process itself,
// before it becomes the command.
func (b Bounds) launched() bool {
	return b.RunAs != nil || b.Umask != nil || b.Limits.CPU > 0 || b.Limits.Memory > 0 || b.Limits.Files > 0
}

// another reports whether the command runs as another user than hookrun, which
// then is root.
func (b Bounds) another() bool { return b.RunAs != nil && os.Geteuid() == 0 }

// give makes a file that of the command's user.
func (b Bounds) give(f *os.File) error {
	if !b.another() {
		return nil
	}
	return f.Chown(b.RunAs.UID, b.RunAs.GID)
}

// variables are those that tell a command who it is.
func (b Bounds) variables() []string {
	if b.RunAs == nil {
		return nil
	}
	return []string{"HOME=" + b.RunAs.Home, "USER=" + b.RunAs.Name, "LOGNAME=" + b.RunAs.Name}
}

// launchError is what kept a process from becoming a command: at a stage, or ""
// at becoming it.
type launchError struct {
	stage string
	err   error
}

func (e *launchError) Error() string {
	if e.stage == "" {
		return e.err.Error()
	}
	return e.stage + ": " + e.err.Error()
}

func (e *launchError) Unwrap() error { return e.err }

// Stages at which the user of run_as is not let into the folder of the command,
// or does not reach its files.
const (
	inFolder = "folder"
	ofFiles  = "files"
)

// launchProblem says what kept the command from its bounds, nil where they are
// not the matter.
func (c command) launchProblem(err error) error {
	le, ok := errors.AsType[*launchError](err)
	switch {
	case !ok || le.stage == "":
		return nil
	case le.stage == ofFiles:
		return fmt.Errorf("run_as: %s can't read the files for the step in %s; start hookrun with a TMPDIR that everybody may enter", c.bounds.RunAs.Name, os.TempDir())
	case le.stage != inFolder:
		return le
	case c.dir == "":
		return fmt.Errorf("run_as: %s may not enter the folder that hookrun was started in; give the action a dir", c.bounds.RunAs.Name)
	}
	return fmt.Errorf("run_as: %s may not enter dir %s", c.bounds.RunAs.Name, showPath(c.dir))
}

// meter counts what a command prints, over both streams.
type meter struct {
	limit int64         // 0: none
	over  chan struct{} // closed by a write when there was more

	mu   sync.Mutex // guards seen and the closing of over
	seen int64
}

func newMeter(limit int64) *meter { return &meter{limit: limit, over: make(chan struct{})} }

// on returns a writer to w that is counted, and that drops what is over the
// limit.
func (m *meter) on(w io.Writer) io.Writer { return metered{m, w} }

type metered struct {
	m *meter
	w io.Writer
}

// Write never fails for the limit: the command is to be ended by a signal, not
// by a broken pipe.
func (w metered) Write(p []byte) (int, error) {
	if fit := w.m.take(len(p)); fit < len(p) {
		if _, err := w.w.Write(p[:fit]); err != nil {
			return 0, err
		}
		return len(p), nil
	}
	return w.w.Write(p)
}

// take counts n bytes and says how many of them are within the limit.
func (m *meter) take(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.seen
	m.seen += int64(n)
	if m.limit == 0 || m.seen <= m.limit {
		return n
	}
	if before <= m.limit {
		close(m.over)
	}
	return int(max(m.limit-before, 0))
}

func outputError(limit int64) error {
	return fmt.Errorf("printed more than the %s that limits.output allows", showSize(limit))
}

// showSize is a number of bytes as a rules file says it.
func showSize(n int64) string {
	for _, u := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n >= u.size && n%u.size == 0 {
			return fmt.Sprintf("%d %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}
