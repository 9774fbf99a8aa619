//go:build unix

package actions

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A process can set most of its bounds only itself, so that hookrun starts
// itself first:
//
//	hookrun ─ fork, exec ─► hookrun __exec SPEC PROGRAM ARGV… ─ sets the bounds, exec ─► the command
//	   ▲                                │
//	   └──── what kept it from that ────┘
//
// It stays one process with one number. What it says goes through a pipe that
// the second exec closes, so that silence is success.

// launchWord is the first argument of a hookrun that becomes a command.
const launchWord = "__exec"

// launchReport is the descriptor of that pipe: the first of exec.Cmd.ExtraFiles.
const launchReport = 3

// launchWait bounds the time between the two execs.
const launchWait = 10 * time.Second

// maxReport is the most bytes of what a launch says.
const maxReport = 4 << 10

// Launch turns this process into a command where args, those of the process, ask
// for that, and does not return then. A program that runs actions calls it before
// anything else.
func Launch(args []string) {
	const fixed = 4 // hookrun, launchWord, SPEC, PROGRAM
	if len(args) <= fixed || args[1] != launchWord {
		return
	}
	unix.CloseOnExec(launchReport)
	var b Bounds
	err := json.Unmarshal([]byte(args[2]), &b)
	if err == nil {
		err = b.become(args[3], args[4:])
	}
	stage, errno := "", syscall.EINVAL
	if le, ok := errors.AsType[*launchError](err); ok {
		stage = le.stage
	}
	errors.As(err, &errno)
	tellLaunch(errno, stage)
	os.Exit(exitNotLaunched)
}

// exitNotLaunched is what a shell says of a command that it did not find.
const exitNotLaunched = 127

func tellLaunch(errno syscall.Errno, stage string) {
	unix.Write(launchReport, fmt.Appendf(nil, "%d %s", int(errno), stage)) // else the exit code says it
}

// become sets the bounds and runs the program in this process's place. The
// limits come before the user, as root may raise them.
func (b Bounds) become(program string, argv []string) error {
	if err := b.setLimits(); err != nil {
		return err
	}
	if b.Umask != nil {
		syscall.Umask(int(*b.Umask))
	}
	if err := b.setUser(); err != nil {
		return &launchError{"run_as", err}
	}
	if err := b.checkUser(); err != nil {
		return err
	}
	if b.Limits.Memory > 0 {
		return execWithin(uint64(b.Limits.Memory), program, argv, os.Environ())
	}
	return syscall.Exec(program, argv, os.Environ())
}

// cpuGrace is the time between SIGXCPU and SIGKILL, in seconds of CPU.
const cpuGrace = 5

func (b Bounds) setLimits() error {
	if s := uint64(b.Limits.CPU / time.Second); s > 0 {
		if err := setLimit(unix.RLIMIT_CPU, s, s+cpuGrace); err != nil {
			return &launchError{"limits.cpu", err}
		}
	}
	if n := uint64(b.Limits.Files); n > 0 {
		if err := setLimit(unix.RLIMIT_NOFILE, n, n); err != nil {
			return &launchError{"limits.files", err}
		}
	}
	return nil
}

// setUser makes the process one of the user's, for good.
func (b Bounds) setUser() error {
	if !b.another() {
		return nil
	}
	if err := b.givePipes(); err != nil {
		return err
	}
	if err := syscall.Setgroups(b.RunAs.Groups); err != nil {
		return err
	}
	if err := syscall.Setgid(b.RunAs.GID); err != nil {
		return err
	}
	return syscall.Setuid(b.RunAs.UID)
}

// checkUser finds what the user can't do: the folder was entered, and the files
// were made, by root.
func (b Bounds) checkUser() error {
	if b.RunAs == nil {
		return nil
	}
	if err := unix.Access(".", unix.X_OK); err != nil {
		return &launchError{inFolder, err}
	}
	if err := unix.Access(os.Getenv(bodyFile), unix.R_OK); err != nil {
		return &launchError{ofFiles, err}
	}
	return nil
}

// givePipes makes the pipes of the streams those of the user, who could not open
// /dev/stderr else.
func (b Bounds) givePipes() error {
	for fd := range 3 {
		var st unix.Stat_t
		if err := unix.Fstat(fd, &st); err != nil {
			return err
		}
		if st.Mode&unix.S_IFMT != unix.S_IFIFO {
			continue
		}
		if err := unix.Fchown(fd, b.RunAs.UID, b.RunAs.GID); err != nil {
			return err
		}
	}
	return nil
}

// launch is the begin of one command that has bounds; nil of one that has none.
type launch struct {
	said, tells *os.File // the ends of the pipe
}

// launch makes cmd start hookrun, which becomes what cmd was before.
func (b Bounds) launch(cmd *exec.Cmd) (*launch, error) {
	if !b.launched() {
		return nil, nil
	}
	self, err := ownProgram()
	if err != nil {
		return nil, fmt.Errorf("find hookrun's own program: %w", err)
	}
	spec, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	l := &launch{}
	if l.said, l.tells, err = os.Pipe(); err != nil {
		return nil, err
	}
	cmd.Args = append([]string{"hookrun", launchWord, string(spec), cmd.Path}, cmd.Args...)
	cmd.Path = self
	cmd.ExtraFiles = []*os.File{l.tells}
	return l, nil
}

// result returns what kept the process from becoming the command, and nil when
// it has become that.
func (l *launch) result() error {
	if l == nil {
		return nil
	}
	l.tells.Close() // else there is no end of what is said
	l.said.SetReadDeadline(time.Now().Add(launchWait))
	text, err := io.ReadAll(io.LimitReader(l.said, maxReport))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("it has not begun after %s", launchWait)
	case err != nil:
		return bare(err)
	case len(text) == 0:
		return nil
	}
	number, stage, _ := strings.Cut(string(text), " ")
	errno, err := strconv.Atoi(number)
	if err != nil {
		return errors.New("what hookrun said when it started itself can't be read")
	}
	return &launchError{stage, syscall.Errno(errno)}
}

func (l *launch) close() {
	if l != nil {
		l.said.Close()
		l.tells.Close()
	}
}
