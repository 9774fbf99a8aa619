package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"hookrun/relay/relaytest"

	"github.com/rogpeppe/go-internal/testscript"
)

// patience bounds every wait of a script. It is only ever used up by a failure.
const patience = 60 * time.Second

// TestScripts runs testdata/script: the built binary against a relay that
// speaks the protocol, as a user would run it.
//
// Beside testscript's own commands there are:
//
//	relay [plain]                  starts a relay ($RELAY_URL, $RELAY_KEY, $RELAY_SECRET); a plain one can carry text alone
//	relay cut|stop|restart         breaks it
//	relay keeping                  starts one that keeps webhooks until they are acked
//	relay damage                   has it damage the next webhook to a client that acks
//	relay refuse STATUS…           has it refuse the next answers
//	relay deaf STATUS              has it refuse webhooks that are sent over HTTP; 0: no longer
//	acked N                        waits until N webhooks were acked
//	subscribed [N]                 waits for N subscribers of the relay, by default 1
//	deliver BUCKET FILE [HEADER…]  sends the HTTP request in the file through the relay, with each 'Name: value' in
//	                               place of its own; where it has no Content-Length, all behind its header is the body
//	answered [sent|failed]         waits until the relay has an answer to what was delivered last, or one with this
//	                               outcome; all answers to it go to stdout
//	post [-i] URL FILE [HEADER…]   sends it over HTTP; the answer goes to stdout, with -i with its header
//	sink [STATUS…]                 starts a server ($SINK) that appends what it is sent to the file calls,
//	                               and answers with the statuses in turn, the last one for ever
//	expand FILE…                   puts the values of $RELAY_URL, $SINK, $WORK and $ADDRESS into files
//	await FILE TEXT [N]            waits until the text stands in the file, N times
//	address                        sets $ADDRESS to a free one
//	umount DIR                     unmounts it when the script has ended
//
// and the condition [root].
func TestScripts(t *testing.T) {
	t.Parallel()
	events, err := filepath.Abs(filepath.Join(root, "testdata", "events"))
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: filepath.Join(root, "testdata", "script"),
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", filepath.Dir(builtBinary)+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("EVENTS", events)
			env.Setenv(raceOptions, os.Getenv(raceOptions))
			env.Values[world{}] = &world{}
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"relay":      cmdRelay,
			"subscribed": cmdSubscribed,
			"acked":      cmdAcked,
			"deliver":    cmdDeliver,
			"answered":   cmdAnswered,
			"post":       cmdPost,
			"sink":       cmdSink,
			"expand":     cmdExpand,
			"await":      cmdAwait,
			"address":    cmdAddress,
			"umount":     cmdUmount,
		},
		Condition: func(cond string) (bool, error) {
			if cond == "root" {
				return os.Geteuid() == 0, nil
			}
			return false, fmt.Errorf("unknown condition %q", cond)
		},
	})
}

// world is what one script has started. Its type is also the key to it.
type world struct {
	relay     *relaytest.Server
	delivered string // the id of the last delivery
}

func worldOf(ts *testscript.TestScript) *world { return ts.Value(world{}).(*world) }

func cmdRelay(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	switch {
	case len(args) == 0, args[0] == "plain", args[0] == "keeping":
		o := relaytest.Options{Key: "buildbox", Secret: "relay-s3cret", Plain: slices.Contains(args, "plain")}
		if slices.Contains(args, "keeping") {
			o.Features = []string{"ack", "resume"}
		}
		srv, err := relaytest.Start(o)
		ts.Check(err)
		ts.Defer(srv.Close)
		w.relay = srv
		ts.Setenv("RELAY_URL", srv.URL)
		ts.Setenv("RELAY_KEY", "buildbox")
		ts.Setenv("RELAY_SECRET", "relay-s3cret")
	case args[0] == "cut":
		w.relay.CutConnections()
	case args[0] == "stop":
		w.relay.Stop()
	case args[0] == "restart":
		ts.Check(w.relay.Restart())
	case args[0] == "refuse":
		for _, arg := range args[1:] {
			status, err := strconv.Atoi(arg)
			ts.Check(err)
			w.relay.RefuseLogs(status)
		}
	case args[0] == "damage":
		w.relay.Damage()
	case args[0] == "deaf" && len(args) == 2:
		status, err := strconv.Atoi(args[1])
		ts.Check(err)
		w.relay.RefuseWebhooks(status)
	default:
		ts.Fatalf("usage: relay [plain|keeping|cut|stop|restart|damage|refuse STATUS…|deaf STATUS]")
	}
}

func cmdSubscribed(ts *testscript.TestScript, _ bool, args []string) {
	n := 1
	if len(args) > 0 {
		var err error
		n, err = strconv.Atoi(args[0])
		ts.Check(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(worldOf(ts).relay.WaitSubscribed(ctx, n))
}

func cmdAcked(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 1 {
		ts.Fatalf("usage: acked N")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ts.Check(worldOf(ts).relay.WaitAcks(ctx, n))
}

// request reads a raw HTTP request from the file that args begin with; the
// others are headers.
func request(ts *testscript.TestScript, args []string) (*http.Request, []byte) {
	raw := ts.ReadFile(args[0])
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(raw)))
	ts.Check(err)
	body, err := io.ReadAll(req.Body)
	ts.Check(err)
	if req.Header.Get("Content-Length") == "" {
		_, rest, _ := strings.Cut(raw, "\n\n")
		body = []byte(rest)
	}
	for _, h := range args[1:] {
		name, value, ok := strings.Cut(h, ": ")
		if !ok {
			ts.Fatalf("header %q has no colon", h)
		}
		req.Header.Set(name, value)
	}
	return req, body
}

func cmdDeliver(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: deliver BUCKET FILE [HEADER…]")
	}
	req, body := request(ts, args[1:])
	w := worldOf(ts)
	id, err := w.relay.Send(args[0], relaytest.Webhook{
		Method: req.Method, Query: req.URL.RawQuery, Header: req.Header, Body: body,
	})
	w.delivered = id
	if neg != (err != nil) {
		ts.Fatalf("deliver: %v", err)
	}
}

func cmdAnswered(ts *testscript.TestScript, _ bool, args []string) {
	w := worldOf(ts)
	answers := func() []relaytest.Log {
		return slices.DeleteFunc(w.relay.Logs(), func(l relaytest.Log) bool { return l.ID != w.delivered })
	}
	wanted := func(l relaytest.Log) bool { return len(args) == 0 || l.Status == args[0] }
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for !slices.ContainsFunc(answers(), wanted) {
		select {
		case <-look.C:
		case <-deadline.C:
			ts.Fatalf("the relay has these answers, and not %v: %+v", args, answers())
		}
	}
	printLogs(ts.Stdout(), answers())
}

func printLogs(w io.Writer, logs []relaytest.Log) {
	for _, l := range logs {
		fmt.Fprintf(w, "%d outcome=%s %s\n%s\n", l.StatusCode, l.Status, l.Header, l.Body)
	}
}

func cmdPost(ts *testscript.TestScript, neg bool, args []string) {
	withHeader := len(args) > 0 && args[0] == "-i"
	if withHeader {
		args = args[1:]
	}
	if len(args) < 2 {
		ts.Fatalf("usage: post [-i] URL FILE [HEADER…]")
	}
	from, body := request(ts, args[1:])
	req, err := http.NewRequest(from.Method, args[0], bytes.NewReader(body))
	ts.Check(err)
	req.Header = from.Header
	resp, err := http.DefaultClient.Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	ts.Check(err)
	fmt.Fprintln(ts.Stdout(), resp.Status)
	if withHeader {
		ts.Check(resp.Header.Write(ts.Stdout()))
	}
	fmt.Fprintf(ts.Stdout(), "%s", answer)
	if neg != (resp.StatusCode/100 != 2) {
		ts.Fatalf("post: %s: %s", resp.Status, answer)
	}
}

func cmdSink(ts *testscript.TestScript, _ bool, args []string) {
	var mu sync.Mutex // guards the file and args
	file := ts.MkAbs("calls")
	ts.Check(os.WriteFile(file, nil, 0o600))
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		defer f.Close()
		fmt.Fprintf(f, "%s %s key=%s auth=%s body=%s\n", r.Method, r.URL.Path, r.Header.Get("Idempotency-Key"), r.Header.Get("Authorization"), body)
		if len(args) == 0 {
			return
		}
		status, _ := strconv.Atoi(args[0])
		if len(args) > 1 {
			args = args[1:]
		}
		w.WriteHeader(status)
	}))
	ts.Defer(srv.Close)
	ts.Setenv("SINK", srv.URL)
}

func cmdExpand(ts *testscript.TestScript, _ bool, args []string) {
	for _, name := range args {
		text := ts.ReadFile(name)
		for _, v := range []string{"RELAY_URL", "SINK", "WORK", "ADDRESS"} {
			text = strings.ReplaceAll(text, "$"+v+";", ts.Getenv(v))
		}
		ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
	}
}

// cmdAwait looks again and again: what it waits for happens in other processes.
func cmdAwait(ts *testscript.TestScript, _ bool, args []string) {
	want := 1
	if len(args) == 3 {
		var err error
		want, err = strconv.Atoi(args[2])
		ts.Check(err)
	}
	file := ts.MkAbs(args[0])
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		text, _ := os.ReadFile(file)
		if strings.Count(string(text), args[1]) >= want {
			return
		}
		select {
		case <-look.C:
		case <-deadline.C:
			logs, _ := filepath.Glob(filepath.Join(ts.Getenv("WORK"), "log*"))
			for _, l := range logs {
				data, _ := os.ReadFile(l)
				ts.Logf("%s:\n%s", filepath.Base(l), data)
			}
			ts.Fatalf("%s: %q does not stand there %d times in:\n%s", args[0], args[1], want, text)
		}
	}
}

func cmdAddress(ts *testscript.TestScript, _ bool, _ []string) {
	srv := httptest.NewServer(nil)
	ts.Setenv("ADDRESS", srv.Listener.Addr().String())
	srv.Close()
}

func cmdUmount(ts *testscript.TestScript, _ bool, args []string) {
	ts.Defer(func() {
		if out, err := exec.Command("umount", "-l", args[0]).CombinedOutput(); err != nil {
			ts.Logf("umount %s: %v: %s", args[0], err, out)
		}
	})
}
