package cli

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
)

func TestStatusPrints(t *testing.T) {
	running := status{Status: control.Status{
		Version: "v1", Since: day("09:00:00"), Health: control.Health{OK: true}, Relay: "connected since x", Listen: ":8080", Rules: 3, Held: true,
		Store: control.StoreInfo{Folder: "/d", Size: 3 << 30, Used: 512 << 20, Free: 5 << 40, Events: 1, Runs: 20, Oldest: day("08:00:00"), Newest: day("11:00:00"), KeepAge: 86400, KeepSize: 1 << 30},
		Summary: control.Summary{
			Since: day("09:00:00"), Ended: map[engine.State]int64{engine.Failed: 2, engine.Done: 7}, Rejected: 5, Waiting: 4, Paused: control.Paused{Rules: []string{"heal\x1b"}},
		},
	}, Armed: control.Armed{All: true, Runs: make([]control.Run, 2)}, HeldRules: &control.Generation{Hash: "abcd", At: day("11:30:00")}}
	for _, tt := range []struct {
		name string
		s    status
		want string
	}{
		{"one that runs", running, `
version   v1
running   since 2026-07-01 09:00:00, for 3h0m
health    it takes events
relay     connected since x
listen    :8080
store     /d
size      3.0 GiB, of which 512.0 MiB are in use: 50% of -keep-size 1.0 GiB; 5120.0 GiB of the disk are free
holds     1 event, 20 runs, from 2026-07-01 08:00:00 to 2026-07-01 11:00:00, finished ones for 1d
rules     3
ended     7 done, 2 failed
waiting   4
rejected  5, hookrun rejected says why
paused    heal\u001b
armed     any rule
held      2 runs for a person to release or cancel: hookrun arm lists what waits
held      rules of 2026-07-01 11:30:00 are not in force yet: hookrun rules accept abcd
`},
		{"one that is not well", status{Status: control.Status{Version: "v1", Since: day("11:59:59"), Health: control.Health{Reason: "the disk is full"}, Store: control.StoreInfo{Folder: "/d", Size: 10, Free: 2048}}}, `
version   v1
running   since 2026-07-01 11:59:59, for 1s
health    not well: the disk is full
store     /d
size      10 bytes; 2.0 KiB of the disk are free
holds     0 events, 0 runs
rules     0
ended     none
waiting   0
`},
		{"none", status{Status: control.Status{Version: "v1", Health: control.Health{Reason: "no hookrun runs"}, Summary: control.Summary{Waiting: 2}}}, `
version   v1
health    no hookrun runs
size      0 bytes; 0 bytes of the disk are free
holds     0 events, 0 runs
rules     0
waiting   2
`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			tt.s.print(shown{out: screen{Writer: &out}}, day("12:00:00"))
			wantText(t, "status", out.String(), tt.want[1:])
		})
	}
}

// armDesk notes what it is told to arm.
type armDesk struct {
	control.Desk // nil: what a test does not ask
	armed        control.Armed
	asked        string
}

func (d *armDesk) Arm(_ context.Context, rule string) (control.Armed, error) {
	d.asked = "arm " + rule
	return d.armed, nil
}

func (d *armDesk) Disarm(_ context.Context, rule string) (control.Armed, error) {
	d.asked = "disarm " + rule
	return d.armed, nil
}

func (d *armDesk) Armed(context.Context) (control.Armed, error) {
	d.asked = "armed"
	return d.armed, nil
}

func TestArmAsksAndPrints(t *testing.T) {
	held := control.Armed{Rules: []string{"a", "b"}, Runs: []control.Run{{ID: "aaaaaa1", Rule: "a", State: engine.Queued, Created: day("10:00:00"), Why: "held"}}}
	const table = `
held: hookrun runs show ID says what they would do, hookrun runs release ID lets one go
ID       STATE   RULE  CREATED              TRIES  TOOK  WHY
aaaaaa1  queued  a     2026-07-01 10:00:00  0            held
`
	for _, tt := range []struct {
		name  string
		o     armOptions
		rule  string
		armed control.Armed
		asked string
		want  string
	}{
		{"what is", armOptions{}, "", control.Armed{}, "armed", "nothing is armed\n"},
		{"a rule", armOptions{}, "a", control.Armed{Rules: []string{"a"}}, "arm a", "armed: a\n"},
		{"any", armOptions{all: true}, "", control.Armed{All: true}, "arm ", "armed: any rule\n"},
		{"a rule off", armOptions{off: true}, "a", control.Armed{All: true, Rules: []string{"b"}}, "disarm a", "armed: any rule, and by themselves b\n"},
		{"all off", armOptions{off: true}, "", control.Armed{}, "disarm ", "nothing is armed\n"},
		{"what waits", armOptions{}, "", held, "armed", "armed: a, b\n" + table},
		{"JSON", armOptions{json: true}, "a", control.Armed{Rules: []string{"a"}, Runs: []control.Run{}}, "arm a", `{"all":false,"rules":["a"],"runs":[]}` + "\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			d := &armDesk{armed: tt.armed}
			if err := tt.o.do(t.Context(), d, tt.rule, screen{Writer: &out}); err != nil {
				t.Fatal(err)
			}
			wantText(t, "asked", d.asked, tt.asked)
			wantText(t, "stdout", out.String(), tt.want)
		})
	}
}

// TestChangesOfHealthAreTold: each, once, to those who watch, also where there is no
// control socket.
func TestChangesOfHealthAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Pointer[control.Health]
		now.Store(&control.Health{OK: true})
		r := &running{
			log: slog.New(slog.DiscardHandler), options: runOptions{data: filepath.Join(t.TempDir(), "none")},
			feed: &control.Feed{}, desk: &control.Local{Health: func() control.Health { return *now.Load() }},
		}
		ctx, cancel := context.WithCancel(t.Context())
		var got []control.Health
		var wg sync.WaitGroup
		wg.Go(func() {
			r.feed.Watch(ctx, control.WatchQuery{}, func(n control.Notice) error {
				if n.Health != nil {
					got = append(got, *n.Health)
				}
				return nil
			})
		})
		stop, err := r.openDesk(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, next := range []control.Health{{OK: true}, {Reason: "the disk is full"}, {Reason: "the disk is full"}, {OK: true}} {
			synctest.Wait()
			now.Store(&next)
			time.Sleep(healthEvery)
		}
		synctest.Wait()
		stop()
		cancel()
		wg.Wait()
		want := []control.Health{{Reason: "the disk is full"}, {OK: true}}
		if !slices.Equal(got, want) {
			t.Errorf("told of %+v, want %+v", got, want)
		}
	})
}

func TestSized(t *testing.T) {
	for n, want := range map[int64]string{0: "0 bytes", 1023: "1023 bytes", 1536: "1.5 KiB", 5 << 20: "5.0 MiB", 1 << 40: "1024.0 GiB"} {
		if got := sized(n); got != want {
			t.Errorf("sized(%d) = %s, want %s", n, got, want)
		}
	}
}
