//go:build linux

package bench

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// setup is what TestMain found and was told; tests only read it, but for the
// table.
var setup struct {
	binary string // the path of hookrun
	load   bool   // the real form
	held   int    // webhooks that TestHeld keeps; 0: what the form says
	files  int    // that a process may have open
	table  table
}

func TestMain(m *testing.M) {
	flag.StringVar(&setup.binary, "binary", "", "measure this `FILE` in place of a hookrun that is built now")
	flag.BoolVar(&setup.load, "load", false, "measure for real, and print a table: takes about ten minutes")
	flag.IntVar(&setup.held, "held", 0, "let an absent client have so `MANY` webhooks kept for it (default 1000000 with -load)")
	flag.Parse()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	var err error
	if setup.files, err = raiseFiles(); err != nil {
		return 1, err
	}
	if setup.binary == "" {
		dir, err := os.MkdirTemp("", "hookrun-bench-")
		if err != nil {
			return 1, err
		}
		defer os.RemoveAll(dir)
		setup.binary = filepath.Join(dir, "hookrun")
		if out, err := exec.Command("go", "build", "-o", setup.binary, "hookrun").CombinedOutput(); err != nil {
			return 1, fmt.Errorf("build hookrun: %w\n%s", err, out)
		}
	}
	code := m.Run()
	setup.table.print(os.Stdout)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			return 1, err
		}
	}
	return code, nil
}

// raiseFiles raises the number of files that this process and the relay may have
// open to what the system allows, and returns it.
func raiseFiles() (int, error) {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("ask for the limit of open files: %w", err)
	}
	l.Cur = l.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 0, fmt.Errorf("raise the limit of open files: %w", err)
	}
	const enough = 1 << 20
	return int(min(l.Cur, enough)), nil
}

// form is how much is measured.
type form struct {
	runs     int           // the median of so many is printed
	time     time.Duration // of a run, at most
	webhooks int           // of a run, at most
	large    int           // the same where bodies are large
	turns    int           // webhooks of a run at a fixed rate
	idle     int           // subscribers that wait
	held     int           // webhooks kept for a client that is away
	settle   time.Duration // until memory is looked at
}

// spareFiles are for all that is open beside the sockets of subscribers.
const spareFiles = 500

func formNow() form {
	if !setup.load {
		return form{runs: 1, time: 20 * time.Second, webhooks: 200, large: 8, turns: 60, idle: 50, held: cmp.Or(setup.held, 500)}
	}
	return form{
		runs: 3, time: 5 * time.Second, webhooks: 1 << 20, large: 1 << 14, turns: 2000,
		idle: min(10_000, setup.files-spareFiles), held: cmp.Or(setup.held, 1_000_000),
		settle: 150 * time.Second, // an idle heap is collected every two minutes, then given back bit by bit
	}
}
