//go:build unix

package cli

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"hookrun/engine"
	"hookrun/engine/rules"
	"hookrun/engine/store"
	"hookrun/relay/server"
)

// BenchmarkSpawn runs /bin/true: bare, and through the whole pipeline from an
// event to the stored result, one after the other and 16 rules beside each
// other.
func BenchmarkSpawn(b *testing.B) {
	b.Run("bare", func(b *testing.B) {
		for b.Loop() {
			if err := exec.Command("/bin/true").Run(); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("pipeline", func(b *testing.B) {
		p := newPipeline(b, "rules: [{name: a, bucket: a, actions: [{exec: [/bin/true]}]}]")
		for b.Loop() {
			p.submit(b, "a")
			<-p.done
		}
	})
	b.Run("pipeline, 16 at once", func(b *testing.B) {
		text := "rules:\n"
		for _, name := range "abcdefghijklmnop" {
			text += "- {name: " + string(name) + ", bucket: " + string(name) + ", actions: [{exec: [/bin/true]}]}\n"
		}
		p := newPipeline(b, text)
		waiting := 0
		for b.Loop() {
			p.submit(b, string(rune('a'+waiting)))
			if waiting++; waiting == 16 {
				for ; waiting > 0; waiting-- {
					<-p.done
				}
			}
		}
		for ; waiting > 0; waiting-- {
			<-p.done
		}
	})
}

// BenchmarkIntake takes webhooks of 2 KB over HTTP that one rule is asked about
// and does not match, from 16 senders: request, match, commit, answer.
func BenchmarkIntake(b *testing.B) {
	p := newPipeline(b, `rules: [{name: a, bucket: a, when: 'body.ref == "x"', actions: [{exec: [/bin/true]}]}]`)
	srv := httptest.NewServer(server.New(server.Options{Inbox: inbox{engine: p.engine}}).Handler())
	defer srv.Close()
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	body := `{"pad":"` + strings.Repeat("x", 2000) + `"}`
	b.SetParallelism(8) // times GOMAXPROCS
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			resp, err := client.Post(srv.URL+"/hooks/a", "application/json", strings.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
			if resp.StatusCode != http.StatusAccepted {
				b.Errorf("answer %s", resp.Status)
			}
		}
	})
}

// pipeline is an engine over a store on disk.
type pipeline struct {
	engine *engine.Engine
	done   chan struct{} // a token for each run that ended
}

func newPipeline(b *testing.B, text string) *pipeline {
	g, problems := rules.Parse([]rules.File{{Path: "rules.yaml", Data: []byte(text)}}, rules.Options{})
	if g == nil {
		b.Fatal(problems)
	}
	st, err := store.Open(b.Context(), store.Options{Dir: filepath.Join(b.TempDir(), "data")})
	if err != nil {
		b.Fatal(err)
	}
	p := &pipeline{done: make(chan struct{}, 64)}
	serving, closeStore := context.WithCancel(context.Background())
	working, stopWork := context.WithCancel(context.Background())
	var storing, running sync.WaitGroup
	storing.Go(func() { st.Serve(serving) })
	p.engine, err = engine.Open(b.Context(), engine.Options{Store: st, Rules: g.Rules, OnChange: func(r engine.Run) {
		if r.State.Finished() {
			p.done <- struct{}{}
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	running.Go(func() { p.engine.Run(working) })
	b.Cleanup(func() {
		stopWork()
		running.Wait()
		closeStore()
		storing.Wait()
	})
	return p
}

func (p *pipeline) submit(b *testing.B, bucket string) {
	if _, err := p.engine.Submit(b.Context(), &engine.Event{Bucket: bucket, Method: "POST", Source: engine.SourceIntake, Body: []byte("{}")}); err != nil {
		b.Fatal(err)
	}
}
