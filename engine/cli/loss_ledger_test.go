//go:build unix

package cli

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"sync"
	"testing"
)

// maxLossTold bounds how many webhooks of a kind a failure names.
const maxLossTold = 20

// lossLedger is what senders were answered, and what the runner wrote.
type lossLedger struct {
	files    *daemonFiles
	tails    [lossBuckets + 1]lossTail // owned by read, and by the test when all is over
	twice    int                       // lines that came again, of one event; of check
	lost     int
	second   int // events of a webhook that had one
	disorder int

	mu      sync.Mutex // guards all below
	grown   *sync.Cond // written, or over
	acks    [lossBuckets][lossSenders][]bool
	acked   int
	written int // lines of the buckets' files
	done    map[lossHook]bool
	open    int // of acks that are not done
	ahead   int // of open, while senders go on
}

// lossHook is a webhook.
type lossHook struct{ file, sender, n int }

// lossTail is how far a file was read.
type lossTail struct {
	offset int64
	rest   []byte // a line that is not whole yet
	lines  []lossLine
}

// lossLine is what an action wrote.
type lossLine struct {
	event string
	hook  lossHook
}

func newLossLedger(files *daemonFiles, ahead int) *lossLedger {
	l := &lossLedger{files: files, ahead: ahead, done: make(map[lossHook]bool)}
	l.grown = sync.NewCond(&l.mu)
	return l
}

// answer notes that a webhook was answered with 2xx.
func (l *lossLedger) answer(bucket, sender, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := &l.acks[bucket][sender]
	for len(*of) <= n {
		*of = append(*of, false)
	}
	(*of)[n] = true
	l.acked++
	if !l.done[lossHook{bucket, sender, n}] {
		l.open++
	}
	if lossCommand(bucket, n) && !l.done[lossHook{lossBuckets, sender, n}] {
		l.open++
	}
}

// lossCommand reports whether a webhook runs a command too.
func lossCommand(bucket, n int) bool { return bucket == lossBuckets-1 && n%lossCommands == 0 }

func (l *lossLedger) answered() int { return l.count(&l.acked) }
func (l *lossLedger) lines() int    { return l.count(&l.written) }
func (l *lossLedger) missing() int  { return l.count(&l.open) }

func (l *lossLedger) count(n *int) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return *n
}

// allow changes how far the runner may be behind.
func (l *lossLedger) allow(more int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ahead += more
	l.grown.Broadcast()
}

// room waits until the runner is not too far behind. It reports false when ctx
// ended.
func (l *lossLedger) room(ctx context.Context) bool {
	stop := context.AfterFunc(ctx, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.grown.Broadcast()
	})
	defer stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	for ctx.Err() == nil && l.open > l.ahead {
		l.grown.Wait()
	}
	return ctx.Err() == nil
}

// read reads what was written since.
func (l *lossLedger) read() error {
	for i := range l.tails {
		lines, err := l.tails[i].read(l.files.path(lossFile(i)), i)
		if err != nil {
			return err
		}
		l.note(lines)
	}
	return nil
}

func (l *lossLedger) note(lines []lossLine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.written += len(lines)
	for _, line := range lines {
		if !l.done[line.hook] && l.isAcked(line.hook) {
			l.open--
		}
		l.done[line.hook] = true
	}
	l.grown.Broadcast()
}

// isAcked reports whether a webhook was answered; mu is held.
func (l *lossLedger) isAcked(h lossHook) bool {
	of := l.acks[min(h.file, lossBuckets-1)]
	return h.sender < lossSenders && h.n < len(of[h.sender]) && of[h.sender][h.n]
}

// read returns the lines of a file that are new.
func (t *lossTail) read(path string, file int) ([]lossLine, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, t.offset, 1<<40))
	if err != nil {
		return nil, err
	}
	t.offset += int64(len(data))
	t.rest = append(t.rest, data...)
	begin := len(t.lines)
	for {
		line, rest, whole := bytes.Cut(t.rest, []byte("\n"))
		if !whole {
			return t.lines[begin:], nil
		}
		t.rest = rest
		w := lossLine{hook: lossHook{file: file}}
		if _, err := fmt.Sscan(string(line), &w.event, &w.hook.sender, &w.hook.n); err != nil {
			return nil, fmt.Errorf("line %q of %s: %w", line, path, err)
		}
		t.lines = append(t.lines, w)
	}
}

// check looks at all lines, in order.
func (l *lossLedger) check(t *testing.T) {
	tell := func(count *int, what string, h lossHook) {
		if *count++; *count <= maxLossTold {
			t.Errorf("%s: webhook %d of sender %d in %s", what, h.n, h.sender, lossFile(h.file))
		}
	}
	eventOf := map[lossHook]string{}
	for i := range l.tails {
		var last [lossSenders]int
		for s := range last {
			last[s] = -1
		}
		for _, line := range l.tails[i].lines {
			h := line.hook
			switch of, again := eventOf[h]; {
			case again && of != line.event:
				tell(&l.second, "a second event of", h)
			case again:
				l.twice++
			}
			eventOf[h] = line.event
			if h.n < last[h.sender] {
				tell(&l.disorder, fmt.Sprintf("behind webhook %d came an earlier one", last[h.sender]), h)
			}
			last[h.sender] = h.n
		}
	}
	for b := range l.acks {
		for s, of := range l.acks[b] {
			for n, acked := range of {
				if acked && !l.done[lossHook{b, s, n}] {
					tell(&l.lost, "answered and never executed", lossHook{b, s, n})
				}
				if h := (lossHook{lossBuckets, s, n}); acked && lossCommand(b, n) && !l.done[h] {
					tell(&l.lost, "answered and never executed", h)
				}
			}
		}
	}
}

// sent is how many webhooks senders tried to send, but for the last of each.
func (l *lossLedger) sent() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for b := range l.acks {
		for _, of := range l.acks[b] {
			n += len(of)
		}
	}
	return n
}

// lossEffect is what an action did for an event: its file has a line of it.
type lossEffect struct {
	file  int
	event string
}

func (l *lossLedger) effects() map[lossEffect]bool {
	all := map[lossEffect]bool{}
	for i := range l.tails {
		for _, line := range l.tails[i].lines {
			all[lossEffect{i, line.event}] = true
		}
	}
	return all
}
