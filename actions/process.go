package actions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"

	"hookrun/engine"
)

// Bounds of a command's end. A step is over at most grace + killWait +
// 2 × drainWait after its time is, which stays below six seconds.
const (
	grace     = 5 * time.Second        // between the polite signal and the hard one
	killWait  = 400 * time.Millisecond // for the hard one to take effect
	drainWait = 200 * time.Millisecond // for the process to be waited for, and for the rest of its output

	// outputWait is how long the output of a command that has ended may stay
	// open, held by something that the command left running.
	outputWait = 5 * time.Second

	minPause = 2 * time.Millisecond // between two looks for the end of a group
	maxPause = 100 * time.Millisecond
)

// leftRunning tells, among what the command printed, why its children are gone.
const leftRunning = "\nhookrun: the command left something running that held its output open; that was ended. " +
	"To leave it running, redirect its output: command >/dev/null 2>&1 &\n"

// process is a running command:
//
//	start ─► exits ─► output read to its end ────────────────────────────► done
//	  │        └─ a child holds the output for outputWait ─► end of the group ─► done
//	  └─ ctx ends, or it printed too much
//	       └─► SIGTERM to the group ─► gone, or grace ─► SIGKILL ──────► cut off
//
// What a command leaves running without its output is let live when the command
// ends by itself, so that it can start a service.
//
// It has no parent-death signal: that one would reach the command but not its
// children, hang on the thread that happened to start it, and take away the
// process by which Leftover knows the group.
type process struct {
	group   *group
	pipes   []io.Closer // our ends
	ios     sync.WaitGroup
	printed *meter

	exited chan struct{}    // closed by the goroutine that waits for the process
	state  *os.ProcessState // set before exited is closed
	err    error            // of waiting, not of the command; likewise
	copied chan struct{}    // closed when stdout and stderr are read to their ends
}

// startProcess starts cmd in a process group of its own. Not exec.Cmd.Wait but
// process.wait waits for it: a grandchild that holds a pipe must not hold us.
func startProcess(cmd *exec.Cmd, b Bounds, stdin *string, stdout, stderr io.Writer) (*process, error) {
	outPipe, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	errPipe, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	p := &process{
		pipes: []io.Closer{outPipe, errPipe}, printed: newMeter(b.Limits.Output),
		exited: make(chan struct{}), copied: make(chan struct{}),
	}
	feed := func() {}
	if stdin != nil {
		in, err := cmd.StdinPipe()
		if err != nil {
			return nil, err
		}
		p.pipes = append(p.pipes, in)
		feed = func() {
			io.WriteString(in, *stdin) // a command need not read it
			in.Close()
		}
	}
	if p.group, err = startGroup(cmd, b); err != nil {
		p.close()
		return nil, err
	}
	p.ios.Go(feed)
	var outputs sync.WaitGroup
	outputs.Go(func() { io.Copy(p.printed.on(stdout), outPipe) })
	outputs.Go(func() { io.Copy(p.printed.on(stderr), errPipe) })
	p.ios.Go(func() {
		outputs.Wait()
		close(p.copied)
	})
	go func() {
		p.state, p.err = cmd.Process.Wait()
		close(p.exited)
	}()
	return p, nil
}

// wait waits for the end of the command, and sees to it when ctx ends or the
// command prints too much. It reports whether ctx ended it.
func (p *process) wait(ctx context.Context, in engine.Input) (cut bool) {
	defer p.close()
	select {
	case <-p.exited:
	case <-ctx.Done():
	case <-p.printed.over:
	}
	flooded := p.flooded()
	cut = !flooded && !isClosed(p.exited) // where both are done, the command ended by itself
	if !flooded && !cut && p.outputEnds(ctx) {
		return false
	}
	p.group.end(in.Hurry)
	within(drainWait, p.exited, nil)
	within(drainWait, p.copied, nil)
	if !cut && !flooded {
		p.close() // nobody else writes to Stderr any more
		io.WriteString(in.Stderr, leftRunning)
	}
	return cut
}

// flooded reports whether the command has printed more than it may.
func (p *process) flooded() bool { return isClosed(p.printed.over) }

// outputEnds waits until the output of a process that has exited is read, and
// reports false where it stays open. The end of ctx cuts the wait short, not so
// far that output on its way to us would count as held.
func (p *process) outputEnds(ctx context.Context) bool {
	return within(outputWait, p.copied, ctx.Done()) || within(drainWait, p.copied, nil)
}

// result returns how the process ended, and nil for one that has not: the
// system can't kill it.
func (p *process) result() (*os.ProcessState, error) {
	if !isClosed(p.exited) {
		return nil, nil
	}
	return p.state, p.err
}

// close gives up the pipes and waits for the goroutines that serve them. The
// one that waits for the process is left alone: it ends with the process, at
// once unless the system can't kill that, as when it hangs on a dead network
// disk.
func (p *process) close() {
	for _, c := range p.pipes {
		c.Close()
	}
	p.ios.Wait()
	if p.group != nil {
		p.group.release()
	}
}

// isClosed reports whether c is closed. A select over several channels does not
// tell: it chooses at random among those that are ready.
func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// within waits for done, at most d and until stop is closed, which may be nil,
// and reports whether done is closed.
func within(d time.Duration, done, stop <-chan struct{}) bool {
	late := time.NewTimer(d)
	defer late.Stop()
	select {
	case <-done:
	case <-stop:
	case <-late.C:
	}
	return isClosed(done)
}

// end ends the whole group, politely for as long as grace lasts and nobody
// hurries. It reports whether the group is gone.
func (g *group) end(hurry <-chan struct{}) bool {
	g.terminate()
	g.goneWithin(grace, hurry)
	g.kill() // even where nobody was seen: a fork can slip through a look, not through this
	return g.goneWithin(killWait, nil)
}

// goneWithin looks for the end of the group, which the system does not report.
func (g *group) goneWithin(d time.Duration, hurry <-chan struct{}) bool {
	late := time.NewTimer(d)
	defer late.Stop()
	for pause := minPause; !g.gone(); pause = min(2*pause, maxPause) {
		select {
		case <-time.After(pause):
		case <-hurry:
			return false
		case <-late.C:
			return g.gone()
		}
	}
	return true
}

// Leftover reports whether p, recorded by a hookrun that has crashed, is still
// running. It is false where the system has given p's number to another
// process or does not tell when a process started.
func Leftover(p engine.Process) bool {
	return p.PID > 1 && p.Start != "" && processStart(p.PID) == p.Start
}

// KillLeftover ends what a step left running when hookrun crashed: the process
// group that it recorded, if that is a Leftover, and on Linux every process that
// the step's HOOKRUN_ variables name. Those are found where the crash came
// before the record, where the leader of the group is gone, and where one has
// left the group. Each of the two gets SIGTERM, 5 s or until ctx ends, SIGKILL,
// at most 0.4 s for that to take effect. It may be called from several
// goroutines at once, even for the same step.
func KillLeftover(ctx context.Context, l engine.Leftover) error {
	if Leftover(l.Process) && !leftGroup(l.Process).end(ctx.Done()) {
		return fmt.Errorf("process group %d is still there after SIGKILL", l.Process.PID)
	}
	if l.Run != "" && !endStrays(runVars(l.Run, l.Step, l.Attempt), ctx.Done()) {
		return errors.New("a process of the step is still there after SIGKILL")
	}
	return nil
}
