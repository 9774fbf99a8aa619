package engine_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"hookrun/engine"
)

const upload = "--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"/etc/x.JPG\"\r\n\r\nfirst\x00\xff\r\n" +
	"--b\r\nContent-Disposition: form-data; name=\"a\"; filename=\"$(reboot).sh -x\"\r\n\r\nsecond\r\n--b--\r\n"

func uploadEvent(body string) *engine.Event {
	return &engine.Event{
		Bucket: "b", Method: "POST", Source: engine.SourceIntake, Body: []byte(body),
		Header: http.Header{"Content-Type": {"multipart/form-data; boundary=b"}},
	}
}

// reading notes, at each Do, where the files of its event are and what is there.
type reading struct {
	t    *testing.T
	fail int // how many times it fails

	mu    sync.Mutex // guards what follows
	paths [][]string
	modes []string
	texts []string
}

func (r *reading) Kind() string { return "exec" }

func (*reading) Plan(engine.Input) (engine.Plan, error) { return engine.Plan{}, nil }

func (r *reading) Do(_ context.Context, in engine.Input) (engine.Output, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var paths []string
	for _, path := range strings.Fields(render(r.t, `{{ join(map(files, .path), "\n") }}`, in.Scope)) {
		paths = append(paths, path)
		text, err := os.ReadFile(path)
		if err != nil {
			return engine.Output{}, err
		}
		r.texts = append(r.texts, string(text))
		for _, p := range []string{path, filepath.Dir(path)} {
			info, err := os.Stat(p)
			if err != nil {
				return engine.Output{}, err
			}
			r.modes = append(r.modes, info.Mode().String())
		}
	}
	r.paths = append(r.paths, paths)
	if len(r.paths) <= r.fail {
		return engine.Output{ExitCode: 1}, errors.New("exit status 1")
	}
	return engine.Output{}, nil
}

func render(t *testing.T, src string, s *engine.Scope) string {
	tmpl, findings := engine.NewCompiler(engine.World{}).Template(src, nil)
	if tmpl == nil {
		t.Errorf("Template(%s) = %+v", src, findings)
		return ""
	}
	text, err := tmpl.Render(s)
	if err != nil {
		t.Errorf("Render(%s) = %v", src, err)
	}
	return text
}

// left are the names below a folder.
func left(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestFilesOfAnEventAreThereForItsSteps: for each attempt anew, for its closing
// steps too, for nobody else, and not longer.
func TestFilesOfAnEventAreThereForItsSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		temp := t.TempDir()
		look := &reading{t: t, fail: 1}
		r := rule("b", look, look)
		r.Retry = engine.Retry{Attempts: 2, Backoff: time.Minute, Max: time.Minute}
		r.Always = []engine.Step{{ID: "3", Action: look}}
		h := start(t, &shakyStore{}, engine.Options{TempDir: temp}, r)
		defer h.stop()
		receipt, err := h.Submit(t.Context(), uploadEvent(upload))
		if err != nil {
			t.Fatal(err)
		}
		pass(time.Second)
		if names := left(t, temp); len(names) != 0 {
			t.Errorf("between the attempts there is %q, want nothing", names)
		}
		pass(time.Hour)
		id := receipt.Runs[0].ID
		if run := h.run(id); run.State != engine.Done || run.Attempt != 2 {
			t.Fatalf("run is %s, %q, at attempt %d, want done at the second", run.State, run.Err, run.Attempt)
		}
		dir := filepath.Join(temp, "hookrun-files-"+id)
		for i, paths := range look.paths { // nothing from outside is in the paths but what kind of file it is
			if got, want := fmt.Sprint(paths), fmt.Sprint([]string{filepath.Join(dir, "1.jpg"), filepath.Join(dir, "2")}); got != want {
				t.Errorf("step %d sees the paths %s, want %s", i, got, want)
			}
		}
		if got, want := look.texts, strings.Repeat("first\x00\xff|second|", 4); len(look.paths) != 4 || strings.Join(got, "|")+"|" != want {
			t.Errorf("%d steps read %q, want both files each", len(look.paths), got)
		}
		if got := look.modes[:2]; got[0] != "-rw-------" || got[1] != "drwx------" {
			t.Errorf("modes are %v, want them for this user alone", got)
		}
		if names := left(t, temp); len(names) != 0 {
			t.Errorf("after the run there is %q, want nothing", names)
		}
	})
}

// TestFilesOfACrashAreReplaced: what an earlier attempt left is not mixed in.
func TestFilesOfACrashAreReplaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		temp := t.TempDir()
		store, look := &shakyStore{}, &reading{t: t}
		ev := uploadEvent(upload)
		h := open(t, store, engine.Options{TempDir: temp}, rule("b", look))
		receipt, err := h.Submit(t.Context(), ev)
		if err != nil {
			t.Fatal(err)
		}
		dir := filepath.Join(temp, "hookrun-files-"+receipt.Runs[0].ID)
		if err := os.MkdirAll(filepath.Join(dir, "1.jpg"), 0o700); err != nil {
			t.Fatal(err)
		}
		h = start(t, store, engine.Options{TempDir: temp}, rule("b", look))
		defer h.stop()
		synctest.Wait()
		if run := h.run(receipt.Runs[0].ID); run.State != engine.Done || len(look.texts) != 2 {
			t.Errorf("run is %s, %q, with %q read, want it done with both files", run.State, run.Err, look.texts)
		}
	})
}

// TestFilesThatCannotBeWrittenFailTheStep: the step does not run without them,
// and there may be room later.
func TestFilesThatCannotBeWrittenFailTheStep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		temp, look := filepath.Join(t.TempDir(), "gone"), &reading{t: t}
		r := rule("b", look)
		r.Retry = engine.Retry{Attempts: 2, Backoff: time.Minute, Max: time.Minute}
		h := start(t, &shakyStore{}, engine.Options{TempDir: temp}, r)
		defer h.stop()
		receipt, err := h.Submit(t.Context(), uploadEvent(upload))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		id := receipt.Runs[0].ID
		if got, want := h.run(id).Err, "step 1 (exec): write the files of the event to "+temp+": no such file or directory"; got != want {
			t.Errorf("the run has the error %q, want %q", got, want)
		}
		if err := os.Mkdir(temp, 0o700); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		if run := h.run(id); run.State != engine.Done || len(look.texts) != 2 {
			t.Errorf("run is %s, %q, want it done at the second attempt", run.State, run.Err)
		}
	})
}

// TestFilesOutliveHookrunWithADetachedCommand: it goes on reading them.
func TestFilesOutliveHookrunWithADetachedCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		temp := t.TempDir()
		hang := doing(func(ctx context.Context, in engine.Input) (engine.Output, error) {
			in.Started(engine.Process{PID: 1, Start: "1", Dir: "/detached"})
			<-ctx.Done()
			return engine.Output{ExitCode: -1}, context.Cause(ctx)
		})
		store := &shakyStore{}
		h := start(t, store, engine.Options{TempDir: temp, Grace: time.Second}, rule("b", hang))
		receipt, err := h.Submit(t.Context(), uploadEvent(upload))
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		h.stop()
		dir := filepath.Join(temp, "hookrun-files-"+receipt.Runs[0].ID)
		if got, want := fmt.Sprint(left(t, dir)), "[1.jpg 2]"; got != want {
			t.Errorf("after the stop there is %s, want %s", got, want)
		}
		look := &reading{t: t}
		h = start(t, store, engine.Options{TempDir: temp}, rule("b", look))
		defer h.stop()
		synctest.Wait()
		if names := left(t, temp); len(look.texts) != 2 || len(names) != 0 {
			t.Errorf("the next attempt read %q and left %q, want both files and nothing", look.texts, names)
		}
	})
}
