package cli

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"hookrun/relay/certs/certstest"
)

// builtBinary is set by TestMain: the path of the hookrun that whole-program
// tests run. It is built as users build it, with the race detector where the
// tests have it.
var builtBinary string

// raceOptions is the variable with what the race detector of a program is told.
const raceOptions = "GORACE"

func TestMain(m *testing.M) {
	flag.Parse()
	// Scripts wait for programs most of the time: more of them than there are CPUs.
	if n := flag.Lookup("test.parallel"); n.Value.String() == n.DefValue && runtime.GOMAXPROCS(0) < 4 {
		_ = n.Value.Set("4")
	}
	// A program with the race detector sleeps a second before it ends: not for each
	// of the hundreds that are run here.
	if _, ok := os.LookupEnv(raceOptions); !ok {
		_ = os.Setenv(raceOptions, "atexit_sleep_ms=0")
	}
	code, err := withBinary(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func withBinary(m *testing.M) (int, error) {
	dir, err := os.MkdirTemp("", "hookrun-test-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	builtBinary = filepath.Join(dir, "hookrun")
	if runtime.GOOS == "windows" {
		builtBinary += ".exe"
	}
	args := []string{"build", "-o", builtBinary}
	if raceEnabled {
		args = append(args, "-race")
	}
	if out, err := exec.Command("go", append(args, "hookrun")...).CombinedOutput(); err != nil {
		return 1, fmt.Errorf("build hookrun: %w\n%s", err, out)
	}
	code := m.Run()
	if code == 0 {
		if err := goleak.Find(goleak.IgnoreAnyFunction(certstest.QueueFunction)); err != nil {
			return 1, err
		}
	}
	return code, nil
}

// lockedBuffer is a buffer for several goroutines.
type lockedBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
