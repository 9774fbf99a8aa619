//go:build unix

package actions

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"hookrun/engine"
)

const (
	shellProgram = "/bin/sh"
	defaultPath  = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// inherited names the variables that a command gets from hookrun's environment.
var inherited = []string{"PATH", "HOME", "LANG", "TZ", "TMPDIR", "USER"}

// group is a process group. Its number is the one of the process that leads it,
// and the system gives that to nobody else while the group has a member, even
// when the leader is gone.
type group struct {
	pid   int
	start string // of the leader, "" if not known
	reap  bool   // nobody else waits for the leader
}

func startGroup(cmd *exec.Cmd, b Bounds) (*group, error) {
	return startLeader(cmd, b, &syscall.SysProcAttr{Setpgid: true})
}

func startLeader(cmd *exec.Cmd, b Bounds, attr *syscall.SysProcAttr) (*group, error) {
	closeInherited()
	l, err := b.launch(cmd)
	if err != nil {
		return nil, err
	}
	defer l.close()
	cmd.SysProcAttr = attr
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	g := &group{pid: cmd.Process.Pid, start: processStart(cmd.Process.Pid)}
	if err := l.result(); err != nil {
		g.kill() // it is ending, or it hangs
		cmd.Process.Wait()
		return nil, err
	}
	return g, nil
}

func leftGroup(p engine.Process) *group { return &group{pid: p.PID, start: p.Start} }

func (g *group) process() engine.Process { return engine.Process{PID: g.pid, Start: g.start} }

// terminate asks the group to end. What is stopped has to go on to hear it.
func (g *group) terminate() {
	g.signal(unix.SIGTERM)
	g.signal(unix.SIGCONT)
}

func (g *group) kill() { g.signal(unix.SIGKILL) }

// gone reports whether nobody in the group runs any more. A zombie does not:
// the init of a container may leave them for ever.
func (g *group) gone() bool {
	if g.reap {
		g.ended()
	}
	return errors.Is(g.signal(0), unix.ESRCH) || onlyZombies(g.pid)
}

// ended reports whether the leader of a group that is to be reaped has ended.
// It never waits, so that nothing holds a hookrun that stops.
func (g *group) ended() bool {
	if processStart(g.pid) != g.start {
		return true
	}
	pid, err := unix.Wait4(g.pid, nil, unix.WNOHANG, nil)
	if errors.Is(err, unix.ECHILD) { // an earlier hookrun started it
		return zombie(g.pid)
	}
	return pid == g.pid
}

func (g *group) release() {}

// signal sends to every member, or to nobody where another process has the
// number by now.
func (g *group) signal(sig syscall.Signal) error {
	if now := processStart(g.pid); now != "" && now != g.start {
		return unix.ESRCH
	}
	return unix.Kill(-g.pid, sig)
}

func signalName(s *os.ProcessState) string {
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return unix.SignalName(ws.Signal())
	}
	return ""
}

// tooMuch reports whether the system refused the size of arguments and
// environment.
func tooMuch(err error) bool { return errors.Is(err, unix.E2BIG) }
