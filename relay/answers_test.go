package relay

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/relay/relaytest"
)

// answerRig sends answers to a relay. It notes when each try began.
type answerRig struct {
	*Answers
	logs *logBuffer
	stop func()        // ends Run and waits for it
	slow time.Duration // before each try

	mu    sync.Mutex // guards tries
	tries []time.Duration
}

// answering runs an Answers inside a synctest bubble; dial is the relay.
func answering(t *testing.T, dial func(context.Context, string, string) (net.Conn, error)) *answerRig {
	t.Helper()
	r := &answerRig{logs: &logBuffer{}}
	begin := time.Now()
	transport := &http.Transport{DialContext: dial}
	r.Answers = NewAnswers(AnswerOptions{
		URL: "ws://127.0.0.1:1/v1/socket", Key: "key", Secret: "secret",
		Client: &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
			r.mu.Lock()
			r.tries = append(r.tries, time.Since(begin))
			r.mu.Unlock()
			time.Sleep(r.slow)
			return transport.RoundTrip(req)
		})},
		Log: slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run = %v, want nil", err)
		}
		transport.CloseIdleConnections()
	})
	t.Cleanup(r.stop)
	return r
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// counts are sent, failed and dropped answers.
func (r *answerRig) counts() string {
	r.Answers.mu.Lock()
	defer r.Answers.mu.Unlock()
	dropped, _ := r.queue.counts()
	return fmt.Sprintf("%d sent, %d failed, %d dropped", r.sent, r.failed, dropped)
}

func (r *answerRig) tried() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tries
}

// answerBubble is answering to a relaytest server.
func answerBubble(t *testing.T, o relaytest.Options) (*relaytest.Server, *answerRig) {
	t.Helper()
	ln := newPipeListener()
	o.Listener = ln
	srv := relaytest.New(t, o)
	return srv, answering(t, ln.dial)
}

func TestAnswerOnTheWire(t *testing.T) {
	tests := []struct {
		name string
		r    Response
		want string
	}{
		{"whole", Response{ID: "d1", Status: 201, Header: http.Header{"X-A": {"1", "2"}}, Body: []byte("hi\xff"), Outcome: OutcomeSent, Retries: 3},
			`{"id":"d1","status_code":201,"response_body":"aGn/","response_headers":{"X-A":["1","2"]},"status":"sent","retries":3}`},
		{"outcome alone", Response{ID: "d1", Outcome: OutcomeSent},
			`{"id":"d1","status_code":200,"response_body":"","response_headers":{},"status":"sent","retries":0}`},
		{"failure alone", Response{ID: "d1", Outcome: OutcomeFailed},
			`{"id":"d1","status_code":500,"response_body":"","response_headers":{},"status":"failed","retries":0}`},
		{"not ended yet", Response{ID: "d1", Status: 202},
			`{"id":"d1","status_code":202,"response_body":"","response_headers":{},"retries":0}`},
		{"headers of more than a line", Response{ID: "d1", Header: http.Header{"X-A": {"1\r\nSet-Cookie: x"}, "X\nB": {"1"}, "X-C": {"1"}}},
			`{"id":"d1","status_code":200,"response_body":"","response_headers":{"X-C":["1"]},"retries":0}`},
		{"3 MiB", Response{ID: "d1", Body: make([]byte, 3<<20)},
			`{"id":"d1","status_code":200,"response_body":"` + strings.Repeat("A", 4<<20) + `","response_headers":{},"retries":0}`},
		{"more than 3 MiB", Response{ID: "d1", Header: http.Header{"X-A": {"1"}}, Body: make([]byte, 3<<20+1), Outcome: OutcomeSent},
			`{"id":"d1","status_code":500,"response_body":"","response_headers":{},"status":"failed","retries":0}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, a := answerBubble(t, relaytest.Options{})
				a.Send(tt.r)
				synctest.Wait()
				logs := srv.Logs()
				if len(logs) != 1 || logs[0].Raw != tt.want {
					t.Errorf("sent %+.300v, want one log %.300s", logs, tt.want)
				}
				if got, want := a.counts(), "1 sent, 0 failed, 0 dropped"; got != want {
					t.Errorf("counts = %s, want %s", got, want)
				}
			})
		})
	}
}

func TestAnswersAreTriedAgainWhereThatHelps(t *testing.T) {
	again := func(status, n int) []int {
		var all []int
		for range n {
			all = append(all, status)
		}
		return all
	}
	tests := []struct {
		name     string
		refusals []int
		deadline time.Duration // 0: none
		tries    [2]int        // from, to
		counts   string
		warned   string // "": nothing
	}{
		{"taken", nil, 10 * time.Second, [2]int{1, 1}, "1 sent, 0 failed, 0 dropped", ""},
		{"500, then taken", []int{500}, 10 * time.Second, [2]int{2, 2}, "1 sent, 0 failed, 0 dropped", ""},
		{"429 and 503, then taken, without a deadline", []int{429, 503}, 0, [2]int{3, 3}, "1 sent, 0 failed, 0 dropped", ""},
		{"500 for good, without a deadline", again(500, 9), 0, [2]int{3, 3}, "0 sent, 1 failed, 0 dropped", "the relay answered 500 Internal Server Error"},
		{"500 until the deadline", again(500, 99), 10 * time.Second, [2]int{4, 20}, "0 sent, 1 failed, 0 dropped", "the relay answered 500 Internal Server Error"},
		{"401", []int{401}, 10 * time.Second, [2]int{1, 1}, "0 sent, 1 failed, 0 dropped", "the relay answered 401 Unauthorized"},
		{"404 in time", []int{404}, 10 * time.Second, [2]int{1, 1}, "0 sent, 1 failed, 0 dropped", "the relay answered 404 Not Found"},
		{"404 of an outcome", []int{404}, 0, [2]int{1, 1}, "0 sent, 1 failed, 0 dropped", ""},
		{"201 is not taken", []int{201}, 10 * time.Second, [2]int{1, 1}, "0 sent, 1 failed, 0 dropped", "the relay answered 201 Created"},
		{"redirect", []int{307}, 10 * time.Second, [2]int{1, 1}, "0 sent, 1 failed, 0 dropped", "the relay answered 307 Temporary Redirect"},
		{"deadline passed", nil, -time.Second, [2]int{0, 0}, "0 sent, 1 failed, 0 dropped", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				srv, a := answerBubble(t, relaytest.Options{})
				srv.RefuseLogs(tt.refusals...)
				r := Response{ID: "d1", Outcome: OutcomeSent}
				if tt.deadline != 0 {
					r.Deadline = time.Now().Add(tt.deadline)
				}
				a.Send(r)
				time.Sleep(time.Minute)
				tries := a.tried()
				if len(tries) < tt.tries[0] || len(tries) > tt.tries[1] {
					t.Errorf("tried at %v, want %v tries", tries, tt.tries)
				}
				for i, at := range tries {
					if i > 0 && at-tries[i-1] < 500*time.Millisecond || tt.deadline > 0 && at > tt.deadline {
						t.Errorf("tried at %v, want pauses of 0.5 s, and none after %v", tries, tt.deadline)
					}
				}
				if got := a.counts(); got != tt.counts {
					t.Errorf("counts = %s, want %s", got, tt.counts)
				}
				if n := strings.Count(a.logs.String(), "level=WARN"); n != min(1, len(tt.warned)) || !strings.Contains(a.logs.String(), tt.warned) {
					t.Errorf("logged %s, want warned once of %q", a.logs, tt.warned)
				}
			})
		})
	}
}

func TestAnswerAfterTheRelaysWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		srv := relaytest.New(t, relaytest.Options{Listener: ln, Window: 10 * time.Second})
		start(t, Options{URL: srv.URL}, func(c *Client) { c.dialNet = ln.dial })
		a := answering(t, ln.dial)
		subscribed(t, srv)
		id, err := srv.Send("deploys", relaytest.Webhook{})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(9 * time.Second)
		a.Send(Response{ID: id, Status: 202})
		synctest.Wait()
		time.Sleep(2 * time.Second)
		a.Send(Response{ID: id, Outcome: OutcomeFailed})
		a.Send(Response{ID: "d1", Outcome: OutcomeFailed})
		synctest.Wait()
		if got, want := a.counts(), "1 sent, 2 failed, 0 dropped"; got != want {
			t.Errorf("counts = %s, want %s", got, want)
		}
		if n := len(srv.Logs()); n != 1 {
			t.Errorf("the relay took %d answers, want 1", n)
		}
		if n := a.logs.count("an answer came too late for the relay"); n != 2 {
			t.Errorf("logged %s, want two answers too late", a.logs)
		}
	})
}

func TestNetworkErrorsAreTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ln := newPipeListener()
		srv := relaytest.New(t, relaytest.Options{Listener: ln})
		var dials int
		a := answering(t, func(ctx context.Context, network, addr string) (net.Conn, error) {
			if dials++; dials == 1 {
				return nil, fmt.Errorf("no route")
			}
			return ln.dial(ctx, network, addr)
		})
		a.Send(Response{ID: "d1", Deadline: time.Now().Add(10 * time.Second)})
		time.Sleep(10 * time.Second)
		if got, want := a.counts(), "1 sent, 0 failed, 0 dropped"; got != want || len(srv.Logs()) != 1 {
			t.Errorf("counts = %s, the relay took %d, want %s", got, len(srv.Logs()), want)
		}
	})
}

// silent accepts connections and never says a word.
func silent(t *testing.T) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		t.Cleanup(func() { theirs.Close() })
		return ours, nil
	}
}

func TestSendNeverWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := answering(t, silent(t))
		begin := time.Now()
		for i := range 1000 {
			a.Send(Response{ID: fmt.Sprint("d", i), Deadline: begin.Add(time.Hour)})
		}
		if got := time.Since(begin); got != 0 {
			t.Errorf("1000 answers took %v to send, want no time", got)
		}
		a.queue.mu.Lock()
		n, first, last := len(a.queue.answers.all), a.queue.answers.all[0].ID, a.queue.answers.all[len(a.queue.answers.all)-1].ID
		a.queue.mu.Unlock()
		if n != 256 || first != "d744" || last != "d999" {
			t.Errorf("%d answers wait, %s to %s, want 256, d744 to d999", n, first, last)
		}
		if n := a.logs.count("answers to webhooks are dropped"); n != 1 {
			t.Errorf("logged %s, want one line that answers are dropped", a.logs)
		}
		begin = time.Now()
		a.stop()
		if got := time.Since(begin); got != 2*time.Second {
			t.Errorf("Run ended %v after its context, want 2s", got)
		}
		a.Send(Response{ID: "after the end"})
	})
}

func TestWaitingAnswersAreBoundedInBytes(t *testing.T) {
	q := newAnswerQueue()
	for i := range 10 {
		q.put(Response{ID: fmt.Sprint(i), Body: make([]byte, 3<<20)})
	}
	dropped, n := q.counts()
	if first := q.answers.all[0].ID; n != 5 || first != "5" || dropped != 5 || q.answers.bytes != 15<<20 {
		t.Errorf("%d answers of %d bytes wait from %s on, %d dropped, want 5 of 15 MiB from 5 on, 5 dropped", n, q.answers.bytes, first, dropped)
	}
}

// TestRefusalsGiveWay: strangers can have any number of webhooks turned away.
func TestRefusalsGiveWay(t *testing.T) {
	type batch struct {
		n       int
		refusal bool
		bytes   int // of each body
	}
	for _, tt := range []struct {
		name              string
		puts              []batch
		answers, refusals int // that wait in the end
	}{
		{"refusals alone", []batch{{1000, true, 0}}, 0, 64},
		{"refusals of 3 MiB", []batch{{10, true, 3 << 20}}, 0, 1},
		{"refusals behind answers", []batch{{250, false, 0}, {1000, true, 0}}, 250, 6},
		{"refusals behind as many answers as may wait", []batch{{256, false, 0}, {1000, true, 0}}, 256, 0},
		{"answers behind refusals", []batch{{64, true, 0}, {200, false, 0}}, 200, 56},
		{"many answers behind refusals", []batch{{64, true, 0}, {300, false, 0}}, 256, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			q := newAnswerQueue()
			puts := 0
			for _, b := range tt.puts {
				for range b.n {
					q.put(Response{ID: "d", Refusal: b.refusal, Body: make([]byte, b.bytes)})
				}
				puts += b.n
			}
			if a, r := len(q.answers.all), len(q.refusals.all); a != tt.answers || r != tt.refusals {
				t.Errorf("%d answers and %d refusals wait, want %d and %d", a, r, tt.answers, tt.refusals)
			}
			if dropped, left := q.counts(); int(dropped)+left != puts {
				t.Errorf("%d are dropped and %d are left of %d", dropped, left, puts)
			}
		})
	}
}

func TestRefusalsAreSentLast(t *testing.T) {
	q := newAnswerQueue()
	q.put(Response{ID: "refusal", Refusal: true})
	q.put(Response{ID: "answer"})
	var got []string
	for range 2 {
		r, _ := q.take(t.Context())
		got = append(got, r.ID)
	}
	if want := "answer refusal"; strings.Join(got, " ") != want {
		t.Errorf("taken %q, want %s", got, want)
	}
}

func TestHurryEndsTheLastAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hurry := make(chan struct{})
		transport := &http.Transport{DialContext: silent(t)}
		defer transport.CloseIdleConnections()
		a := NewAnswers(AnswerOptions{
			URL: "ws://127.0.0.1:1/v1/socket", Key: "key", Secret: "secret", Client: &http.Client{Transport: transport}, Hurry: hurry,
		})
		for i := range 10 {
			a.Send(Response{ID: fmt.Sprint("d", i)})
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		time.AfterFunc(500*time.Millisecond, func() { close(hurry) })
		begin := time.Now()
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got, want := time.Since(begin), 500*time.Millisecond; got != want {
			t.Errorf("Run ended %v after its context, want %v", got, want)
		}
	})
}

func TestAnswersThatWaitAreSentAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, a := answerBubble(t, relaytest.Options{})
		a.slow = 100 * time.Millisecond // so that most still wait when Run is told to end
		for i := range 20 {
			a.Send(Response{ID: fmt.Sprint("d", i)})
		}
		a.stop()
		if n := len(srv.Logs()); n != 20 {
			t.Errorf("the relay took %d answers, want 20", n)
		}
		if want := `msg="answers to the relay stopped" relay=127.0.0.1:1 sent=20 failed=0 dropped=0 left=0`; !strings.Contains(a.logs.String(), want) {
			t.Errorf("logged %s, want %s", a.logs, want)
		}
	})
}

func TestFailingAnswersAreLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv, a := answerBubble(t, relaytest.Options{})
		srv.RefuseLogs(401, 401, 401, 403, 403)
		for i := range 6 {
			a.Send(Response{ID: fmt.Sprint("d", i)})
			synctest.Wait()
		}
		if got := strings.Count(a.logs.String(), "level=WARN"); got != 2 {
			t.Errorf("logged %s, want one warning for 401 and one for 403", a.logs)
		}
		if n := a.logs.count("the relay takes answers again"); n != 1 {
			t.Errorf("logged %s, want that answers are taken again", a.logs)
		}
	})
}

func TestAnswersKeepTheSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &answerRig{logs: &logBuffer{}}
		a := NewAnswers(AnswerOptions{
			URL: "wss://relay.example/v1/socket", Key: "key", Secret: "hush-hush",
			Client: &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
				key, secret, _ := req.BasicAuth()
				return nil, fmt.Errorf("proxy says: %s %s %s", req.URL, key, secret)
			})},
			Log: slog.New(slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		a.Send(Response{ID: "../../d?1", Body: []byte("hush-hush")})
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
		got := r.logs.String()
		if strings.Contains(got, "hush-hush") || !strings.Contains(got, "proxy says: https://relay.example/v1/logs/..%2F..%2Fd%3F1 key ***") {
			t.Errorf("logged %s, want the error without the secret", got)
		}
	})
}

func TestAnswersRefuseWhatCannotWork(t *testing.T) {
	tests := []struct{ name, url, key, want string }{
		{"readable over the network", "ws://relay.example/v1/socket", "key",
			"relay url ws://relay.example sends key and secret readable over the network; use wss://"},
		{"no socket", "https://relay.example", "key", "relay url: want wss://host/v1/socket"},
		{"no key", "wss://relay.example/v1/socket", "", "relay relay.example needs a key and a secret"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := NewAnswers(AnswerOptions{URL: tt.url, Key: tt.key, Secret: "s"}).Run(t.Context())
			if got := fmt.Sprint(err); got != tt.want {
				t.Errorf("Run = %s, want %s", got, tt.want)
			}
		})
	}
}

func TestWhereAnswersGo(t *testing.T) {
	tests := []struct{ name, socket, want string }{
		{"hosted", "wss://my.webhookrelay.com/v1/socket", "https://my.webhookrelay.com/v1/logs/"},
		{"this machine", "ws://127.0.0.1:8080/v1/socket", "http://127.0.0.1:8080/v1/logs/"},
		{"below a path", "wss://h/relay/v1/socket?x=1", "https://h/relay/v1/logs/"},
		{"another path", "wss://h/ws", "https://h/v1/logs/"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			u, err := url.Parse(tt.socket)
			if err != nil {
				t.Fatal(err)
			}
			if got := logsURL(u).String(); got != tt.want {
				t.Errorf("logsURL = %s, want %s", cmp.Or(got, "nothing"), tt.want)
			}
		})
	}
}

func TestAnswersWithAClientOfTheirOwn(t *testing.T) {
	srv := relaytest.New(t, relaytest.Options{})
	a := NewAnswers(AnswerOptions{URL: srv.URL, Key: "key", Secret: "secret"})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	a.Send(Response{ID: "d1", Body: []byte("hi")})
	waiting, giveUp := context.WithTimeout(t.Context(), patience)
	defer giveUp()
	if got, err := srv.WaitLog(waiting, "d1"); err != nil || string(got.Body) != "hi" {
		t.Errorf("log = %+v, %v, want the body hi", got, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("Run = %v, want nil", err)
	}
}

// TestAnswersFollowNoRedirect: key and secret go to the relay alone.
func TestAnswersFollowNoRedirect(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		a := NewAnswers(AnswerOptions{
			URL: "wss://relay.example/v1/socket", Key: "key", Secret: "secret",
			Client: &http.Client{Transport: roundTrip(func(req *http.Request) (*http.Response, error) {
				asked = append(asked, req.URL.String())
				return &http.Response{StatusCode: 307, Header: http.Header{"Location": {"https://relay.example:444/x"}}, Body: http.NoBody, Request: req}, nil
			})},
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		a.Send(Response{ID: "d1"})
		if err := a.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if got, want := fmt.Sprint(asked), "[https://relay.example/v1/logs/d1]"; got != want {
			t.Errorf("asked %s, want %s", got, want)
		}
	})
}
