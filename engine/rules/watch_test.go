package rules

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// save is a way in which rules files come to say something else.
type save struct {
	name  string
	paths []string                             // watched, in the folder; empty: rules.yaml
	setup func(t *testing.T, dir string)       // nil: a plain rules.yaml
	save  func(t *testing.T, dir, text string) // makes the rules say text
	skip  func() string                        // why it cannot be tried here
}

func ruleNamed(name string) string {
	return "rules: [{name: " + name + ", actions: [{exec: [echo]}]}]\n"
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
}

func git(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "init.defaultBranch=main"}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL="+os.DevNull, "GIT_CONFIG_SYSTEM="+os.DevNull)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %q: %v: %s", args, err, out)
	}
}

func noLinks() string {
	if runtime.GOOS == "windows" {
		return "links need a privilege on Windows"
	}
	return ""
}

func noGit() string {
	if _, err := exec.LookPath("git"); err != nil {
		return "there is no git"
	}
	return ""
}

func saves() []save {
	in := func(dir string) string { return filepath.Join(dir, "rules.yaml") }
	return []save{
		{name: "truncate and write, as nano", save: func(t *testing.T, dir, text string) {
			write(t, in(dir), text)
		}},
		{name: "rename the old away, as vim", save: func(t *testing.T, dir, text string) {
			must(t, os.Rename(in(dir), in(dir)+"~"))
			write(t, in(dir), text)
			must(t, os.Remove(in(dir)+"~"))
		}},
		{name: "copy and overwrite, as vim with backupcopy", save: func(t *testing.T, dir, text string) {
			write(t, in(dir)+"~", "the old")
			write(t, in(dir), text)
			must(t, os.Remove(in(dir)+"~"))
		}},
		{name: "new file renamed over, as sed -i", save: func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, "sedAb12"), text)
			must(t, os.Rename(filepath.Join(dir, "sedAb12"), in(dir)))
		}},
		{name: "moved in from another folder", save: func(t *testing.T, dir, text string) {
			other := filepath.Join(t.TempDir(), "new")
			write(t, other, text)
			must(t, os.Rename(other, in(dir)))
		}},
		{name: "deleted and made again", save: func(t *testing.T, dir, text string) {
			must(t, os.Remove(in(dir)))
			write(t, in(dir), text)
		}},
		{name: "a folder that gets another file", paths: []string{"."}, save: func(t *testing.T, dir, text string) {
			write(t, filepath.Join(dir, "other.yaml"), text)
			must(t, os.Remove(in(dir)))
		}},
		{name: "ConfigMap", skip: noLinks,
			setup: func(t *testing.T, dir string) {
				must(t, os.Mkdir(filepath.Join(dir, "..v1"), 0o755), os.Symlink("..v1", filepath.Join(dir, "..data")),
					os.Symlink(filepath.Join("..data", "rules.yaml"), in(dir)))
				write(t, filepath.Join(dir, "..v1", "rules.yaml"), ruleNamed("old"))
			},
			save: func(t *testing.T, dir, text string) {
				must(t, os.Mkdir(filepath.Join(dir, "..v2"), 0o755))
				write(t, filepath.Join(dir, "..v2", "rules.yaml"), text)
				must(t, os.Symlink("..v2", filepath.Join(dir, "..data_tmp")), os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")),
					os.RemoveAll(filepath.Join(dir, "..v1")))
			}},
		{name: "a link's target is edited", skip: noLinks,
			setup: func(t *testing.T, dir string) {
				must(t, os.Mkdir(filepath.Join(dir, "far"), 0o755), os.Symlink(filepath.Join("far", "real"), in(dir)))
				write(t, filepath.Join(dir, "far", "real"), ruleNamed("old"))
			},
			save: func(t *testing.T, dir, text string) { write(t, filepath.Join(dir, "far", "real"), text) }},
		{name: "a link on the way is turned", paths: []string{filepath.Join("current", "rules.yaml")}, skip: noLinks,
			setup: func(t *testing.T, dir string) {
				must(t, os.Mkdir(filepath.Join(dir, "r1"), 0o755), os.Symlink("r1", filepath.Join(dir, "current")))
				write(t, filepath.Join(dir, "r1", "rules.yaml"), ruleNamed("old"))
			},
			save: func(t *testing.T, dir, text string) {
				must(t, os.Mkdir(filepath.Join(dir, "r2"), 0o755))
				write(t, filepath.Join(dir, "r2", "rules.yaml"), text)
				must(t, os.Symlink("r2", filepath.Join(dir, "next")), os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "current")))
			}},
		{name: "git pull", paths: []string{filepath.Join("clone", "rules")}, skip: noGit,
			setup: func(t *testing.T, dir string) {
				origin := filepath.Join(dir, "origin")
				must(t, os.MkdirAll(filepath.Join(origin, "rules"), 0o755))
				write(t, filepath.Join(origin, "rules", "rules.yaml"), ruleNamed("old"))
				git(t, origin, "init", "-q")
				git(t, origin, "add", ".")
				git(t, origin, "commit", "-qm", "old")
				git(t, dir, "clone", "-q", origin, "clone")
			},
			save: func(t *testing.T, dir, text string) {
				origin := filepath.Join(dir, "origin")
				write(t, filepath.Join(origin, "rules", "rules.yaml"), text)
				git(t, origin, "commit", "-qam", "new")
				git(t, filepath.Join(dir, "clone"), "pull", "-q", "--ff-only")
			}},
	}
}

// report is a call of Changed.
type report struct {
	g        *Generation
	problems []Problem
}

// watching runs a watcher until the test ends, and gives what it reports.
func watching(t *testing.T, o WatchOptions, rules Options) (*Watcher, <-chan report) {
	t.Helper()
	reports := make(chan report, 100)
	if o.Load == nil {
		o.Load = func() (*Generation, []Problem) { return Load(o.Paths, rules) }
	}
	o.Changed = func(g *Generation, problems []Problem) { reports <- report{g, problems} }
	w := NewWatcher(o)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run = %v", err)
		}
	})
	return w, reports
}

// next waits for a report and says it in a line.
func next(t *testing.T, reports <-chan report) string {
	t.Helper()
	timeout := time.NewTimer(time.Minute) // far more than it takes, in real time too
	defer timeout.Stop()
	select {
	case r := <-reports:
		if r.g == nil {
			return fmt.Sprint("refused: ", r.problems[0].Msg)
		}
		return fmt.Sprint("rules: ", strings.Join(names(r.g), ", "))
	case <-timeout.C:
		t.Fatal("no change was noticed")
		return ""
	}
}

func wantNext(t *testing.T, reports <-chan report, want string) {
	t.Helper()
	if got := next(t, reports); got != want {
		t.Fatalf("reported %q, want %q", got, want)
	}
}

// trySave watches the rules, saves new ones and waits for them to be noticed.
func trySave(t *testing.T, s save, o WatchOptions) {
	dir := t.TempDir()
	if s.setup != nil {
		s.setup(t, dir)
	} else {
		write(t, filepath.Join(dir, "rules.yaml"), ruleNamed("old"))
	}
	for _, path := range s.paths {
		o.Paths = append(o.Paths, filepath.Join(dir, path))
	}
	if len(s.paths) == 0 {
		o.Paths = []string{filepath.Join(dir, "rules.yaml")}
	}
	_, reports := watching(t, o, testOptions(t))
	wantNext(t, reports, "rules: old")
	for _, name := range []string{"new", "newer"} {
		if name == "newer" && (s.paths != nil || s.setup != nil) {
			break // these are made to be saved once
		}
		s.save(t, dir, ruleNamed(name))
		got := next(t, reports)
		for strings.HasPrefix(got, "refused") || got == "rules: old" || strings.Contains(got, ",") { // a slow machine shows what is between
			got = next(t, reports)
		}
		if got != "rules: "+name {
			t.Fatalf("reported %q, want the rule %q", got, name)
		}
	}
}

func TestEverySaveIsNoticedByItsEvents(t *testing.T) {
	for _, s := range saves() {
		t.Run(s.name, func(t *testing.T) {
			if why := skipped(s); why != "" {
				t.Skip(why)
			}
			trySave(t, s, WatchOptions{Poll: time.Hour}) // nothing but events is in time
		})
	}
}

func TestEverySaveIsNoticedWithoutEvents(t *testing.T) {
	for _, s := range saves() {
		t.Run(s.name, func(t *testing.T) {
			if why := skipped(s); why != "" {
				t.Skip(why)
			}
			trySave(t, s, WatchOptions{NoEvents: true, Poll: 10 * time.Millisecond})
		})
	}
}

func skipped(s save) string {
	if s.skip == nil {
		return ""
	}
	return s.skip()
}

// polled runs a watcher without events in a bubble, where time is free. It has
// reported the rule "old" already.
func polled(t *testing.T, f func(t *testing.T, path string, w *Watcher, reports <-chan report)) {
	o := testOptions(t)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, ruleNamed("old"))
	synctest.Test(t, func(t *testing.T) {
		w, reports := watching(t, WatchOptions{Paths: []string{path}, NoEvents: true}, o)
		wantNext(t, reports, "rules: old")
		f(t, path, w, reports)
	})
}

func wantNothing(t *testing.T, reports <-chan report, d time.Duration) {
	t.Helper()
	time.Sleep(d)
	synctest.Wait()
	select {
	case r := <-reports:
		t.Errorf("reported %v %v, want nothing", r.g, r.problems)
	default:
	}
}

func TestWhatIsInUseIsNotReported(t *testing.T) {
	o := testOptions(t)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, ruleNamed("old"))
	g, problems := Load([]string{path}, o)
	if g == nil {
		t.Fatal(problems)
	}
	synctest.Test(t, func(t *testing.T) {
		_, reports := watching(t, WatchOptions{Paths: []string{path}, NoEvents: true, Loaded: g.Hash}, o)
		wantNothing(t, reports, time.Minute)
	})
}

func TestBadRulesAreToldOnce(t *testing.T) {
	polled(t, func(t *testing.T, path string, _ *Watcher, reports <-chan report) {
		write(t, path, "rulez: []\n")
		wantNext(t, reports, `refused: unknown key "rulez" in the file`)
		wantNothing(t, reports, time.Minute)
		write(t, path, ruleNamed("old"))
		wantNext(t, reports, "rules: old")
	})
}

func TestDeletedRulesAreToldOnce(t *testing.T) {
	polled(t, func(t *testing.T, path string, _ *Watcher, reports <-chan report) {
		must(t, os.Remove(path))
		wantNext(t, reports, "refused: no such file or folder")
		wantNothing(t, reports, time.Minute)
		must(t, os.RemoveAll(filepath.Dir(path)))
		wantNothing(t, reports, time.Minute)
		must(t, os.Mkdir(filepath.Dir(path), 0o755))
		write(t, path, ruleNamed("back"))
		wantNext(t, reports, "rules: back")
	})
}

func TestUnreadableRulesAreRefused(t *testing.T) {
	if os.Geteuid() == 0 || runtime.GOOS == "windows" {
		t.Skip("everything can be read here")
	}
	polled(t, func(t *testing.T, path string, _ *Watcher, reports <-chan report) {
		must(t, os.Chmod(path, 0))
		wantNext(t, reports, "refused: permission denied")
		must(t, os.Chmod(path, 0o644))
		wantNext(t, reports, "rules: old")
	})
}

func TestHalfAFileIsNotRead(t *testing.T) {
	polled(t, func(t *testing.T, path string, _ *Watcher, reports <-chan report) {
		text := strings.Repeat("# a long file\n", 100) + ruleNamed("new")
		for at := 0; at < len(text); at += 50 {
			write(t, path, text[:at])
			time.Sleep(settleTime / 2)
		}
		write(t, path, text)
		wantNext(t, reports, "rules: new")
	})
}

func TestAFileThatNeverSettlesIsReadAllTheSame(t *testing.T) {
	polled(t, func(t *testing.T, path string, _ *Watcher, reports <-chan report) {
		began := time.Now()
		for i := 0; time.Since(began) < defaultPoll+maxSettle+time.Second; i++ {
			write(t, path+".new", fmt.Sprintf("# %d\n%s", i, ruleNamed("new")))
			must(t, os.Rename(path+".new", path))
			time.Sleep(settleTime / 2)
		}
		synctest.Wait()
		select {
		case r := <-reports:
			if r.g == nil || names(r.g)[0] != "new" {
				t.Errorf("reported %v %v", r.g, r.problems)
			}
		default:
			t.Error("nothing was reported")
		}
	})
}

func TestChangeDuringLoadIsReadAgain(t *testing.T) {
	o := testOptions(t)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, ruleNamed("old"))
	synctest.Test(t, func(t *testing.T) {
		loads := 0
		load := func() (*Generation, []Problem) {
			g, problems := Load([]string{path}, o)
			if loads++; loads == 1 {
				write(t, path, ruleNamed("new"))
			}
			return g, problems
		}
		_, reports := watching(t, WatchOptions{Paths: []string{path}, NoEvents: true, Load: load}, o)
		wantNext(t, reports, "rules: new")
		wantNothing(t, reports, time.Minute)
	})
}

// TestWhatLoadReadIsWhatIsKnown: what stood in the file before and after it was
// read is news, where Load read something else.
func TestWhatLoadReadIsWhatIsKnown(t *testing.T) {
	o := testOptions(t)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, ruleNamed("old"))
	synctest.Test(t, func(t *testing.T) {
		loads := 0
		load := func() (*Generation, []Problem) {
			if loads++; loads > 1 {
				return Load([]string{path}, o)
			}
			write(t, path, ruleNamed("for a moment"))
			defer write(t, path, ruleNamed("old"))
			return Load([]string{path}, o)
		}
		_, reports := watching(t, WatchOptions{Paths: []string{path}, NoEvents: true, Load: load}, o)
		wantNext(t, reports, "rules: for a moment")
		wantNext(t, reports, "rules: old")
		wantNothing(t, reports, time.Minute)
	})
}

func TestRefusedWhileItChangedIsLookedAtAgain(t *testing.T) {
	o := testOptions(t)
	path := filepath.Join(t.TempDir(), "rules.yaml")
	write(t, path, ruleNamed("old"))
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		before := "" // content at the look before the load
		load := func() (*Generation, []Problem) {
			if before != "" && time.Since(began) > maxSettle+time.Second {
				return Load([]string{path}, o)
			}
			text, err := os.ReadFile(path)
			must(t, err)
			before = string(text)
			write(t, path, "rulez: []\n")
			g, problems := Load([]string{path}, o)
			write(t, path, fmt.Sprintf("# %s\n%s", time.Since(began), ruleNamed("old")))
			return g, problems
		}
		_, reports := watching(t, WatchOptions{Paths: []string{path}, NoEvents: true, Load: load}, o)
		wantNext(t, reports, `refused: unknown key "rulez" in the file`)
		write(t, path, before)
		time.Sleep(2 * time.Second)
		wantNext(t, reports, "rules: old")
	})
}

func TestWhatWasToldIsNotToldAgain(t *testing.T) {
	for _, text := range []string{"rulez: []\n", ruleNamed("good")} {
		o := testOptions(t)
		path := filepath.Join(t.TempDir(), "rules.yaml")
		write(t, path, text)
		told := Fingerprint([]string{path})
		if g, _ := Load([]string{path}, o); g != nil && g.Hash != told {
			t.Errorf("Fingerprint = %s, want the hash %s", told, g.Hash)
		}
		synctest.Test(t, func(t *testing.T) {
			_, reports := watching(t, WatchOptions{Paths: []string{path}, NoEvents: true, Loaded: told}, o)
			wantNothing(t, reports, time.Minute)
			write(t, path, ruleNamed("new"))
			wantNext(t, reports, "rules: new")
		})
	}
}

func TestKickReadsWhatDidNotChange(t *testing.T) {
	polled(t, func(t *testing.T, path string, w *Watcher, reports <-chan report) {
		w.Kick()
		w.Kick()
		wantNext(t, reports, "rules: old")
	})
}

// TestSecretFilesAreWatched: a secret that is changed on this side is read again,
// one that is away for a moment, or was not known before, is not.
func TestSecretFilesAreWatched(t *testing.T) {
	o := testOptions(t)
	path, secret := filepath.Join(t.TempDir(), "rules.yaml"), filepath.Join(t.TempDir(), "secret")
	write(t, path, ruleNamed("old"))
	write(t, secret, "one")
	synctest.Test(t, func(t *testing.T) {
		_, reports := watching(t, WatchOptions{Paths: []string{path}, NoEvents: true, Also: func() []string { return []string{secret} }}, o)
		wantNext(t, reports, "rules: old")
		wantNothing(t, reports, time.Minute)
		write(t, secret, "two")
		wantNext(t, reports, "rules: old")
		must(t, os.Remove(secret))
		wantNothing(t, reports, time.Minute)
		write(t, secret, "two")
		wantNothing(t, reports, time.Minute)
	})
}

func TestGitIsWaitedFor(t *testing.T) {
	tests := []struct {
		name string
		lock func(t *testing.T, dir string) string // makes the checkout, and returns its lock
	}{
		{"checkout", func(t *testing.T, dir string) string {
			must(t, os.Mkdir(filepath.Join(dir, ".git"), 0o755))
			return filepath.Join(dir, ".git", "index.lock")
		}},
		{"worktree", func(t *testing.T, dir string) string {
			must(t, os.Mkdir(filepath.Join(dir, "kept"), 0o755))
			write(t, filepath.Join(dir, ".git"), "gitdir: kept\n")
			return filepath.Join(dir, "kept", "index.lock")
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			polled(t, func(t *testing.T, path string, _ *Watcher, reports <-chan report) {
				lock := tt.lock(t, filepath.Dir(path))
				write(t, lock, "")
				write(t, path, ruleNamed("first of two"))
				wantNothing(t, reports, maxGitWait/2)
				write(t, path, ruleNamed("both"))
				must(t, os.Remove(lock))
				wantNext(t, reports, "rules: both")

				write(t, lock, "") // left behind by a git that was killed
				write(t, path, ruleNamed("later"))
				wantNothing(t, reports, maxGitWait-time.Second)
				wantNext(t, reports, "rules: later")
			})
		})
	}
}
