package forward

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/relay/account"
)

func TestTriesUntilOneWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		s := newMemory(due("d1", "o"))
		var at []time.Duration
		var told []account.Update
		f := start(t, Options{Store: s, Output: anyOutput, Done: func(_ *account.Log, u account.Update) { told = append(told, u) }},
			func(r *http.Request) (*http.Response, error) {
				at = append(at, time.Since(begin))
				switch len(at) {
				case 1:
					return nil, errors.New("connection reset")
				case 2:
					return answer(503, "", "Retry-After", "20"), nil
				}
				return answer(201, "made", "X-A", "b"), nil
			})
		time.Sleep(time.Minute)
		synctest.Wait()
		f.stop()
		if len(at) != 3 || at[1]-at[0] < firstWait/2 || at[1]-at[0] > firstWait+pollEvery || at[2]-at[1] < 20*time.Second || at[2]-at[1] > 21*time.Second {
			t.Errorf("tried at %v, want at once, after about 1 s, and 20 s after that", at)
		}
		l := s.kept("d1")
		if l.Status != account.StatusSent || l.StatusCode != 201 || string(l.Answer) != "made" || l.Retries != 2 || !l.Next.IsZero() || l.AnswerHead.Get("X-A") != "b" {
			t.Errorf("the log has %+v, want it sent after 2 retries, with its answer", l)
		}
		if len(told) != 1 || told[0].StatusCode != 201 {
			t.Errorf("told of %v, want of the last alone", told)
		}
	})
}

func TestGivesUp(t *testing.T) {
	tests := []struct {
		name    string
		retries int
		status  int // 0: no answer
		tries   int
	}{
		{"three tries", 0, 500, 3},
		{"and its own", 2, 0, 5},
		{"no second one", -1, 503, 1},
		{"too many requests", 0, 429, 3},
		{"not found is final", 5, 404, 1},
		{"a redirect is final", 5, 302, 1},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newMemory(due("d1", "o"))
				var tries atomic.Int32
				out := func(_, id string) *account.Output {
					return &account.Output{ID: id, Destination: "http://a.example", Retries: tt.retries}
				}
				f := start(t, Options{Store: s, Output: out}, func(*http.Request) (*http.Response, error) {
					tries.Add(1)
					if tt.status == 0 {
						return nil, errors.New("reset")
					}
					return answer(tt.status, "why"), nil
				})
				time.Sleep(time.Hour)
				synctest.Wait()
				f.stop()
				l := s.kept("d1")
				if int(tries.Load()) != tt.tries || l.Status != account.StatusFailed || l.StatusCode != tt.status || l.Retries != tt.tries-1 || len(l.Answer) == 0 {
					t.Errorf("%d tries and %+v, want %d and that it failed, with the reason", tries.Load(), l, tt.tries)
				}
			})
		})
	}
}

// TestRestartGoesOn: the time of the next try outlives the process, and what is
// being sent at its end is sent again.
func TestRestartGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		later := due("later", "o")
		later.Next, later.Retries = time.Now().Add(time.Minute), 1
		s := newMemory(due("hangs", "slow"), later)
		hang := func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		f := start(t, Options{Store: s, Output: anyOutput}, hang)
		synctest.Wait()
		stopping := time.Now()
		f.stop()
		if took := time.Since(stopping); took != stopTime {
			t.Errorf("it took %s to stop, want %s for what is being sent", took, stopTime)
		}
		if l := s.kept("hangs"); l.Status != account.StatusPreparing || l.Retries != 0 || l.Next.IsZero() {
			t.Errorf("what was cut off is %+v, want it due as before", l)
		}
		var sent []string
		start(t, Options{Store: s, Output: anyOutput}, func(r *http.Request) (*http.Response, error) {
			sent = append(sent, r.Header.Get(deliveryHeader))
			return answer(200, ""), nil
		})
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if want := []string{"hangs", "later"}; !slices.Equal(sent, want) {
			t.Errorf("sent after the restart: %q, want %q", sent, want)
		}
	})
}

func TestHurryEndsTheWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory(due("hangs", "o"))
		hurry := make(chan struct{})
		f := start(t, Options{Store: s, Output: anyOutput, Hurry: hurry}, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		synctest.Wait()
		close(hurry)
		begin := time.Now()
		f.stop()
		if took := time.Since(begin); took != 0 {
			t.Errorf("it took %s to stop in a hurry, want none", took)
		}
	})
}

func TestTimeoutOfTheOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory(due("d1", "o"))
		out := func(_, id string) *account.Output {
			return &account.Output{ID: id, Destination: "http://a.example", Timeout: 7, Retries: -1}
		}
		start(t, Options{Store: s, Output: out}, func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		l := s.kept("d1")
		if l.Status != account.StatusFailed || l.Duration != 7*time.Second || string(l.Answer) != "no answer in 7s" {
			t.Errorf("the log has %+v, want it failed after 7 s", l)
		}
	})
}

// TestASlowOutputStopsNoOther: with thousands of deliveries for destinations that
// never answer, one for another is sent at once, and no bound is passed.
func TestASlowOutputStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		for i := range 3000 {
			s.add(due(fmt.Sprintf("slow%d", i), fmt.Sprintf("slow%d", i%12)))
		}
		var mu sync.Mutex // guards all below
		now, most := map[string]int{}, map[string]int{}
		f := start(t, Options{Store: s, Output: anyOutput}, func(r *http.Request) (*http.Response, error) {
			host := r.URL.Host
			count := func(by int) {
				mu.Lock()
				defer mu.Unlock()
				for _, of := range []string{host, "all"} {
					now[of] += by
					most[of] = max(most[of], now[of])
				}
			}
			count(1)
			defer count(-1)
			if strings.HasPrefix(host, "fast") {
				return answer(200, ""), nil
			}
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		time.Sleep(time.Second)
		synctest.Wait()
		for i := range 20 {
			s.add(due(fmt.Sprintf("fast%d", i), "fast"))
		}
		f.Wake()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := s.count("fast", account.StatusSent); got != 20 {
			t.Errorf("%d of 20 for the fast output are sent, want all", got)
		}
		mu.Lock()
		defer mu.Unlock()
		if most["all"] > maxBusy || most["slow0.example"] > maxLine {
			t.Errorf("%d were sent at once, and %d to one output; want %d and %d at most", most["all"], most["slow0.example"], maxBusy, maxLine)
		}
	})
}

// TestASlowBucketStopsNoOther: with many outputs that never answer in one bucket,
// and much for each, one of another bucket is sent at once, and what waits for a
// place is not written again and again.
func TestASlowBucketStopsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		for i := range 1000 {
			s.add(due(fmt.Sprintf("slow%d", i), fmt.Sprintf("slow%d", i%100)))
		}
		var slow atomic.Int64
		f := start(t, Options{Store: s, Output: anyOutput}, func(r *http.Request) (*http.Response, error) {
			if strings.HasPrefix(r.URL.Host, "fast") {
				return answer(200, ""), nil
			}
			slow.Add(1)
			defer slow.Add(-1)
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		time.Sleep(time.Second)
		synctest.Wait()
		if got := slow.Load(); got < maxBucket/2 || got > maxBucket {
			t.Errorf("%d of the slow bucket are being sent, want %d at most, and not much less", got, maxBucket)
		}
		for i := range 20 {
			l := due(fmt.Sprintf("fast%d", i), "fast")
			l.BucketID = "another"
			s.add(l)
		}
		f.Wake()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := s.count("fast", account.StatusSent); got != 20 {
			t.Errorf("%d of 20 for the other bucket are sent, want all", got)
		}
		s.mu.Lock()
		before := s.updates
		s.mu.Unlock()
		time.Sleep(20 * time.Second)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if got, most := s.updates-before, int(20*time.Second/firstPace*2); got > most {
			t.Errorf("the store was written %d times in 20 s, want %d at most", got, most)
		}
	})
}

func TestABucketLeavesPlacesAndBytes(t *testing.T) {
	at := time.Now()
	for _, tt := range []struct {
		name        string
		size, taken int
	}{
		{"places", 1, maxBucket},
		{"bytes", maxBucketBytes / 8, 8},
		{"one that is larger than all", maxBucketBytes + 1, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ls := newLines()
			enter := func(bucket string, i, size int) place {
				p, _ := ls.enter(&account.Log{ID: fmt.Sprint(bucket, i), BucketID: bucket, OutputID: fmt.Sprint(bucket, i), Size: size}, at)
				return p
			}
			n := 0
			for enter("slow", n, tt.size) == taken {
				n++
			}
			if n != tt.taken {
				t.Errorf("%d of one bucket have a place, want %d", n, tt.taken)
			}
			if p := enter("slow", n, tt.size); p != full {
				t.Errorf("one more is %v, want it put off", p)
			}
			if p := enter("other", 0, 1<<20); p != taken {
				t.Errorf("one of another bucket is %v, want it taken", p)
			}
			ls.leave(&account.Log{ID: "slow0", BucketID: "slow", OutputID: "slow0", Size: tt.size}, time.Second)
			ls.begin()
			if p := enter("slow", n, tt.size); p != taken {
				t.Errorf("one more once there is a place is %v, want it taken", p)
			}
		})
	}
}

// TestABacklogIsSentAtThePaceOfTheOutput: all of it, each once, and without
// putting each off many times.
func TestABacklogIsSentAtThePaceOfTheOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 1000
		s := newMemory()
		for i := range n {
			s.add(due(fmt.Sprintf("d%d", i), "o"))
		}
		var sent atomic.Int64
		start(t, Options{Store: s, Output: anyOutput}, func(*http.Request) (*http.Response, error) {
			sent.Add(1)
			time.Sleep(100 * time.Millisecond)
			return answer(204, ""), nil
		})
		time.Sleep(2 * n * 100 * time.Millisecond / maxLine) // twice what it takes without a pause
		synctest.Wait()
		if got := s.count("o", account.StatusSent); got != n || sent.Load() != n {
			t.Errorf("%d are noted as sent, %d were; want each of %d once", got, sent.Load(), n)
		}
		if s.updates > 6*n {
			t.Errorf("the store was written %d times for %d deliveries", s.updates, n)
		}
	})
}

// TestWhatCantBeStoredIsNotSentAgain: not before the next start.
func TestWhatCantBeStoredIsNotSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory(due("d1", "o"))
		var failures, sent atomic.Int64
		s.fail = func(string, account.Update) error {
			if failures.Add(1) < 4 {
				return errors.New("disk full")
			}
			return nil
		}
		start(t, Options{Store: s, Output: anyOutput}, func(*http.Request) (*http.Response, error) {
			sent.Add(1)
			return answer(200, ""), nil
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		if l := s.kept("d1"); l.Status != account.StatusSent || sent.Load() != 1 {
			t.Errorf("sent %d times, and the log says %s; want once, and sent", sent.Load(), l.Status)
		}
	})
}

// TestADeliveryThatCannotBeReadIsSentLater also shows that bodies come from Log:
// Due gives none.
func TestADeliveryThatCannotBeReadIsSentLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := due("d1", "o")
		l.Body = []byte("the body")
		s := newMemory(l)
		s.unreadable = 2
		var sent []string
		f := start(t, Options{Store: s, Output: anyOutput}, func(r *http.Request) (*http.Response, error) {
			body, err := io.ReadAll(r.Body)
			sent = append(sent, string(body))
			return answer(200, ""), err
		})
		time.Sleep(time.Minute)
		synctest.Wait()
		f.stop()
		if !slices.Equal(sent, []string{"the body"}) {
			t.Errorf("sent %q, want it once", sent)
		}
	})
}

func TestAStoreThatCantBeReadIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory(due("d1", "o"))
		s.dueFail = errors.New("broken")
		f := start(t, Options{Store: s, Output: anyOutput}, func(*http.Request) (*http.Response, error) { return answer(200, ""), nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := strings.Count(f.logs.String(), "err=broken"); n < 5 || n > 20 {
			t.Errorf("it was told %d times in a minute, want every 5 s", n)
		}
		s.mu.Lock()
		s.dueFail = nil
		s.mu.Unlock()
		time.Sleep(storePause)
		synctest.Wait()
		if l := s.kept("d1"); l.Status != account.StatusSent {
			t.Errorf("the log says %s, want sent", l.Status)
		}
	})
}

func TestOutputsThatAreGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory(due("d1", "gone"), due("d2", "disabled"), due("d3", "internal"))
		out := outputs(account.Output{ID: "disabled", Destination: "http://a.example", Disabled: true}, account.Output{ID: "internal", Internal: true})
		start(t, Options{Store: s, Output: out}, func(*http.Request) (*http.Response, error) {
			t.Error("something was sent")
			return nil, errors.New("no")
		})
		time.Sleep(time.Second)
		synctest.Wait()
		for id, want := range map[string]string{"d1": "there no more", "d2": "is disabled", "d3": "internal"} {
			if l := s.kept(id); l.Status != account.StatusFailed || !strings.Contains(string(l.Answer), want) {
				t.Errorf("%s is %s: %s, want it failed: %s", id, l.Status, l.Answer, want)
			}
		}
	})
}

// TestLogTellsOnce: of an output that fails, and that it works again.
func TestLogTellsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newMemory()
		for i := range 20 {
			s.add(due(fmt.Sprintf("d%d", i), "o"))
		}
		var broken atomic.Bool
		broken.Store(true)
		o := Options{Store: s, Bucket: func(string) string { return "deploys" }, Output: func(bucketID, outputID string) *account.Output {
			out := anyOutput(bucketID, outputID)
			out.Name = "ci"
			return out
		}}
		f := start(t, o, func(*http.Request) (*http.Response, error) {
			if broken.Load() {
				return answer(500, ""), nil
			}
			return answer(200, ""), nil
		})
		time.Sleep(time.Minute)
		broken.Store(false)
		s.add(due("last", "o"))
		f.Wake()
		time.Sleep(time.Second)
		synctest.Wait()
		if warns, infos := strings.Count(f.logs.String(), "level=WARN"), strings.Count(f.logs.String(), "works again"); warns != 1 || infos != 1 {
			t.Errorf("%d warnings, and %d times that it works again; want one of each:\n%s", warns, infos, f.logs)
		}
		if lines, named := strings.Count(f.logs.String(), " output_id="), strings.Count(f.logs.String(), "bucket=deploys output=ci"); named != lines {
			t.Errorf("bucket and output are named in %d lines, want all %d:\n%s", named, lines, f.logs)
		}
	})
}

func TestBackoff(t *testing.T) {
	for retries, want := range map[int]time.Duration{0: time.Second, 3: 8 * time.Second, 8: 256 * time.Second, 9: maxWait, 100: maxWait} {
		for range 50 {
			if d := backoff(retries); d < want/2 || d > want {
				t.Errorf("backoff(%d) = %s, want half of %s to all of it", retries, d, want)
			}
		}
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for text, want := range map[string]time.Duration{
		"": 0, "7": 7 * time.Second, "-7": 0, "soon": 0, "999999999": maxRetryAfter, "99999999999999999999": 0,
		"Fri, 02 Jan 2026 03:05:05 GMT": time.Minute, "Fri, 02 Jan 2026 03:03:05 GMT": 0,
	} {
		if got := retryAfter(http.Header{"Retry-After": {text}}, now); got != want {
			t.Errorf("retryAfter(%q) = %s, want %s", text, got, want)
		}
	}
}
