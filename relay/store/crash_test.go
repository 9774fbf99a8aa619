package store

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"hookrun/relay/account"
)

// crashDirEnv makes the test binary a process that is there to be killed: it
// accepts webhooks into this folder.
const crashDirEnv = "HOOKRUN_TEST_RELAY_CRASH_DIR"

// acceptUntilKilled prints the id and seq of each delivery when, and only when,
// it was acknowledged.
func acceptUntilKilled(dir string) int {
	s, err := Open(context.Background(), Options{Dir: dir, hooks: roomyDisk()})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	var wg sync.WaitGroup
	wg.Go(func() { // kills come while this is counted as well
		for s.Health() == nil && s.count(context.Background()) == nil {
		}
	})
	for range 8 {
		wg.Go(func() {
			for {
				l := newLog(bucketA)
				if err := s.Accept(context.Background(), []*account.Log{l}, nil); err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				fmt.Printf("%s %d\n", l.ID, l.Seq)
			}
		})
	}
	if err := s.Serve(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	wg.Wait()
	return 1
}

func TestNothingAcknowledgedIsLostToAKill(t *testing.T) {
	const kills = 5
	o := options(t)
	var acked []string
	for range kills {
		acked = append(acked, acceptAndKill(t, o.Dir, 1+rand.IntN(300))...)
		s := serve(t, o)
		for _, line := range acked {
			id, seq, _ := strings.Cut(line, " ")
			l, err := s.Log(t.Context(), id)
			if err != nil {
				t.Error(err)
			} else if fmt.Sprint(l.Seq) != seq {
				t.Errorf("seq of delivery %s = %d, want %s", id, l.Seq, seq)
			}
		}
		if n, err := s.Sizes(t.Context()); err != nil || n.Deliveries < int64(len(acked)) {
			t.Errorf("sizes = %+v, %v; want %d deliveries at least", n, err, len(acked))
		}
		wantExactSizes(t, s.Store)
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d deliveries acknowledged, %d kills", len(acked), kills)
}

// acceptAndKill has a child process accept webhooks, kills it when it has
// acknowledged so many, and returns all that it acknowledged.
func acceptAndKill(t *testing.T, dir string, after int) []string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), self)
	child.Env = append(os.Environ(), crashDirEnv+"="+dir)
	var stderr strings.Builder
	child.Stderr = &stderr
	stdout, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var acked []string
	lines := bufio.NewReader(stdout)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			break // a line that the kill cut short was not acknowledged
		}
		acked = append(acked, strings.TrimSuffix(line, "\n"))
		if len(acked) == after {
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	child.Wait() // ends with the kill's error
	if len(acked) < after {
		t.Fatalf("the child ended by itself after %d webhooks: %s", len(acked), stderr.String())
	}
	return acked
}
