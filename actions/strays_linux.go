package actions

import (
	"bytes"
	"io"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// maxEnviron is how much of a process's environment is looked at, in bytes: it
// may be as large as arguments and environment together.
const maxEnviron = 4 << 20

// endStrays ends every process that has all of vars, NAME=value each, in the
// environment it was started with, and reports whether they are gone: SIGTERM,
// 5 s or until hurry, SIGKILL. Hookrun itself, and what it was started by, are
// left alone: a deploy may have started it.
func endStrays(vars []string, hurry <-chan struct{}) bool {
	return straysEnd(vars, unix.SIGTERM, grace, hurry) || straysEnd(vars, unix.SIGKILL, killWait, nil)
}

// straysEnd signals until nobody is left: who is signalled may have started
// another meanwhile. Nobody has to be seen twice: the system shows no environment
// of a process that is just becoming another program.
func straysEnd(vars []string, sig unix.Signal, d time.Duration, hurry <-chan struct{}) bool {
	late := time.NewTimer(d)
	defer late.Stop()
	told := map[string]bool{}
	none := 0 // looks in a row that found nobody
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		left := strays(vars)
		if none++; len(left) > 0 {
			none = 0
		}
		if none == 2 {
			return true
		}
		for _, pid := range left {
			start := processStart(pid)
			if key := strconv.Itoa(pid) + "/" + start; start != "" && !told[key] {
				told[key] = true
				unix.Kill(pid, sig) // it may be gone by now
				unix.Kill(pid, unix.SIGCONT)
			}
		}
		select {
		case <-time.After(pause):
		case <-hurry:
			return false
		case <-late.C:
			return len(strays(vars)) == 0
		}
	}
}

// strays returns the numbers of those processes. One whose environment may not
// be read is none.
func strays(vars []string) []int {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	spared := ancestors()
	var found []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err == nil && !spared[pid] && hasAll(environOf(pid), vars) {
			found = append(found, pid)
		}
	}
	return found
}

// ancestors are this process and those that led to it.
func ancestors() map[int]bool {
	all := map[int]bool{}
	for pid := os.Getpid(); pid > 0 && !all[pid]; {
		all[pid] = true
		stat := statOf(pid)
		if stat == nil {
			break
		}
		pid, _ = strconv.Atoi(stat[statParent])
	}
	return all
}

// environOf returns the environment a process was started with, NUL before and
// behind each variable; nothing for one that has ended.
func environOf(pid int) []byte {
	f, err := os.Open("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return nil
	}
	defer f.Close()
	env, _ := io.ReadAll(io.LimitReader(f, maxEnviron))
	return append([]byte{0}, env...)
}

func hasAll(environ []byte, vars []string) bool {
	if len(environ) <= 1 {
		return false
	}
	for _, v := range vars {
		if !bytes.Contains(environ, []byte("\x00"+v+"\x00")) {
			return false
		}
	}
	return true
}
