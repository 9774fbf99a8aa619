package rules

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// generation loads the rules below paths, which have to be good.
func generation(t *testing.T, o Options, paths ...string) *Generation {
	t.Helper()
	g, problems := Load(paths, o)
	if g == nil {
		t.Fatal(problems)
	}
	return g
}

func add(t *testing.T, a *Archive, g *Generation, at time.Time) int {
	t.Helper()
	n, err := a.Add(g, at)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestArchiveKeepsTheLastGenerations(t *testing.T) {
	o := testOptions(t)
	path := filepath.Join(o.Dir, "rules.yaml")
	a := OpenArchive(filepath.Join(o.Dir, "data", "generations"))
	if list, err := a.List(); err != nil || list != nil {
		t.Errorf("List of nothing = %v, %v", list, err)
	}
	const count = keepGenerations + 5
	for i := range count {
		write(t, path, ruleNamed(fmt.Sprintf("r%d", i+1)))
		g := generation(t, o, path)
		for range 2 { // the same again is the same
			if n := add(t, a, g, noon.Add(time.Duration(i)*time.Minute)); n != i+1 {
				t.Fatalf("Add = %d, want %d", n, i+1)
			}
		}
	}
	list, err := OpenArchive(a.dir).List() // as the next start sees it
	if err != nil || len(list) != keepGenerations {
		t.Fatalf("List = %d entries, %v", len(list), err)
	}
	if list[0].N != count || list[len(list)-1].N != count-keepGenerations+1 || !list[0].At.Equal(noon.Add((count-1)*time.Minute)) {
		t.Errorf("List = %+v", list)
	}
	files, err := a.Load(count - 1)
	if err != nil {
		t.Fatal(err)
	}
	g, problems := Parse(files, o)
	if g == nil || names(g)[0] != fmt.Sprintf("r%d", count-1) || g.Hash != list[1].Hash {
		t.Errorf("generation %d = %v, %v", count-1, g, problems)
	}
	if _, err := a.Load(1); err == nil || err.Error() != "there is no generation 1" {
		t.Errorf("Load(1): %v", err)
	}
}

func TestRestoreGoesBackAndLosesNothing(t *testing.T) {
	o := testOptions(t)
	dir := filepath.Join(o.Dir, "rules")
	must(t, os.Mkdir(dir, 0o755))
	single := filepath.Join(o.Dir, "single.yaml")
	in := func(name string) string { return filepath.Join(dir, name) }
	write(t, in("a.yaml"), ruleNamed("a"))
	write(t, in("b.yaml"), ruleNamed("b"))
	write(t, single, ruleNamed("c"))
	write(t, in("notes.txt"), "mine")
	must(t, os.Chmod(in("a.yaml"), 0o600))
	a := OpenArchive(filepath.Join(o.Dir, "generations"))
	before := generation(t, o, dir, single)
	n := add(t, a, before, noon)

	broken := "rulez: [\n" // what is there need not be good
	write(t, in("a.yaml"), broken)
	must(t, os.Remove(in("b.yaml")), os.Remove(single))
	write(t, in("new.yaml"), ruleNamed("new"))
	write(t, in(".hidden.yaml"), "hidden")

	for i := range 2 { // a second time changes nothing, and keeps the first's folder
		replaced, err := a.Restore(n, []string{dir, single}, noon)
		if err != nil {
			t.Fatal(err)
		}
		if now := generation(t, o, dir, single); now.Hash != before.Hash {
			t.Errorf("the rules are %q, not as they were", names(now))
		}
		for name, want := range map[string]string{"notes.txt": "mine", ".hidden.yaml": "hidden"} {
			if got, err := os.ReadFile(in(name)); err != nil || string(got) != want {
				t.Errorf("%s = %q, %v", name, got, err)
			}
		}
		if i == 0 {
			testReplaced(t, replaced, map[string]string{"1-a.yaml": broken, "2-new.yaml": ruleNamed("new")})
		}
	}
	if info, err := os.Stat(in("a.yaml")); err != nil || info.Mode().Perm() != 0o600 && os.PathSeparator == '/' {
		t.Errorf("a.yaml: %v, %v, want its mode kept", info.Mode(), err)
	}
	left, err := filepath.Glob(filepath.Join(dir, ".hookrun-*"))
	if err != nil || left != nil {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

func testReplaced(t *testing.T, folder string, want map[string]string) {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != len(want) {
		t.Fatalf("%s holds %v, %v", folder, entries, err)
	}
	for name, text := range want {
		if got, err := os.ReadFile(filepath.Join(folder, name)); err != nil || string(got) != text {
			t.Errorf("%s = %q, %v, want %q", name, got, err, text)
		}
	}
}

func TestRestoreFollowsALink(t *testing.T) {
	if why := noLinks(); why != "" {
		t.Skip(why)
	}
	o := testOptions(t)
	path, real := filepath.Join(o.Dir, "rules.yaml"), filepath.Join(o.Dir, "srv", "real.yaml")
	write(t, real, ruleNamed("a"))
	must(t, os.Symlink(real, path))
	a := OpenArchive(filepath.Join(o.Dir, "generations"))
	n := add(t, a, generation(t, o, path), noon)
	write(t, real, ruleNamed("b"))
	if _, err := a.Restore(n, []string{path}, noon); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(real); err != nil || string(got) != ruleNamed("a") {
		t.Errorf("the link's target = %q, %v", got, err)
	}
}

func TestRestoreTouchesNoOtherPaths(t *testing.T) {
	o := testOptions(t)
	path, other := filepath.Join(o.Dir, "rules.yaml"), filepath.Join(o.Dir, "other.yaml")
	write(t, path, ruleNamed("a"))
	write(t, other, ruleNamed("b"))
	a := OpenArchive(filepath.Join(o.Dir, "generations"))
	n := add(t, a, generation(t, o, path), noon)
	write(t, path, ruleNamed("c"))
	_, err := a.Restore(n, []string{other}, noon)
	if want := fmt.Sprintf("go back to generation 1: its file %s is not among the rules that are used now", path); err == nil || err.Error() != want {
		t.Errorf("Restore: %v, want %s", err, want)
	}
	if got, _ := os.ReadFile(path); string(got) != ruleNamed("c") {
		t.Errorf("it was written: %s", got)
	}
}

func TestDamagedGenerationIsPassedOver(t *testing.T) {
	o := testOptions(t)
	path := filepath.Join(o.Dir, "rules.yaml")
	a := OpenArchive(filepath.Join(o.Dir, "generations"))
	write(t, path, ruleNamed("a"))
	add(t, a, generation(t, o, path), noon)
	write(t, path, ruleNamed("b"))
	n := add(t, a, generation(t, o, path), noon)
	write(t, a.file(n), "{")
	list, err := a.List()
	if err != nil || len(list) != 1 || list[0].N != 1 {
		t.Errorf("List = %+v, %v", list, err)
	}
	if _, err := a.Load(n); err == nil || !strings.HasPrefix(err.Error(), "read generation 2: ") {
		t.Errorf("Load: %v", err)
	}
	if got := add(t, a, generation(t, o, path), noon); got != n+1 {
		t.Errorf("Add = %d, want %d", got, n+1)
	}
	if numbers, err := a.numbers(); err != nil || !slices.Equal(numbers, []int{1, 2, 3}) {
		t.Errorf("numbers = %v, %v", numbers, err)
	}
}

// TestNewestIsOfTheSameFiles: what to start with where the files are broken.
func TestNewestIsOfTheSameFiles(t *testing.T) {
	o := testOptions(t)
	path, other := filepath.Join(o.Dir, "rules.yaml"), filepath.Join(o.Dir, "other.yaml")
	a := OpenArchive(filepath.Join(o.Dir, "generations"))
	for _, name := range []string{"one", "two"} {
		write(t, path, ruleNamed(name))
		add(t, a, generation(t, o, path), noon)
	}
	write(t, other, ruleNamed("other"))
	add(t, a, generation(t, o, other), noon)

	e, files, err := a.Newest([]string{path})
	if err != nil || e.N != 2 || len(files) != 1 || string(files[0].Data) != ruleNamed("two") {
		t.Errorf("Newest = %+v, %v, want generation 2: the third is of other files", e, err)
	}
	if _, files, err := a.Newest([]string{filepath.Join(o.Dir, "unknown.yaml")}); files != nil || err != nil {
		t.Errorf("Newest of unknown files = %v, %v, want none", files, err)
	}
}

// TestGoingBackAgainGoesFurtherBack: rollback without a number, beside a daemon
// that keeps what it went back to as a new generation.
func TestGoingBackAgainGoesFurtherBack(t *testing.T) {
	const nothing = "no generation of these rules is kept"
	const oldest = "what stands there is the oldest content that is kept; hookrun rollback -rules FILE N goes to another"
	tests := []struct {
		name      string
		kept      []string // other: it is of another file
		content   string   // stands in the file; "": nothing does
		want, now int      // 0: none
	}{
		{"nothing was kept", nil, "one", 0, 0},
		{"only what stands there", []string{"one"}, "one", 0, 1},
		{"only others", []string{"other"}, "one", 0, 0},
		{"the newest", []string{"one", "two"}, "two", 1, 2},
		{"behind others", []string{"one", "other", "two"}, "two", 1, 3},
		{"edited since", []string{"one", "two"}, "three", 2, 0},
		{"deleted", []string{"one", "two"}, "", 2, 0},
		{"gone back once, no daemon", []string{"one", "two", "three"}, "two", 1, 2},
		{"gone back once", []string{"one", "two", "three", "two"}, "two", 1, 4},
		{"gone back twice", []string{"one", "two", "three", "two", "one"}, "one", 0, 5},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(t)
			path, other := filepath.Join(o.Dir, "rules.yaml"), filepath.Join(o.Dir, "other.yaml")
			a := OpenArchive(filepath.Join(o.Dir, "generations"))
			for _, name := range tt.kept {
				at := path
				if name == "other" {
					at = other
				}
				write(t, at, ruleNamed(name))
				add(t, a, generation(t, o, at), noon)
			}
			os.Remove(other)
			os.Remove(path)
			if tt.content != "" {
				write(t, path, ruleNamed(tt.content))
			}
			n, err := a.Before([]string{path})
			none := oldest
			if !slices.ContainsFunc(tt.kept, func(name string) bool { return name != "other" }) {
				none = nothing
			}
			if n != tt.want || (err == nil) != (tt.want > 0) || err != nil && err.Error() != none {
				t.Errorf("Before = %d, %v, want %d", n, err, tt.want)
			}
			if got := current(t, a); got != tt.now {
				t.Errorf("current = %d, want %d", got, tt.now)
			}
		})
	}
}

// current is the number of the generation that List says stands in the files, 0
// where it is none.
func current(t *testing.T, a *Archive) int {
	t.Helper()
	list, err := a.List()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, e := range list {
		if e.Current && n != 0 {
			t.Errorf("%d and %d are both current", n, e.N)
		} else if e.Current {
			n = e.N
		}
	}
	return n
}

// TestRollbackFollowedByADaemon is the whole way: Restore, Add, Restore.
func TestRollbackFollowedByADaemon(t *testing.T) {
	o := testOptions(t)
	path := filepath.Join(o.Dir, "rules.yaml")
	a := OpenArchive(filepath.Join(o.Dir, "generations"))
	for _, name := range []string{"one", "two", "three"} {
		write(t, path, ruleNamed(name))
		add(t, a, generation(t, o, path), noon)
	}
	for _, want := range []string{"two", "one"} {
		n, err := a.Before([]string{path})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Restore(n, []string{path}, noon); err != nil {
			t.Fatal(err)
		}
		g := generation(t, o, path)
		if names(g)[0] != want {
			t.Errorf("went back to %q, want %q", names(g)[0], want)
		}
		add(t, a, g, noon)
	}
}

func TestNoNumberIsGivenTwice(t *testing.T) {
	o := testOptions(t)
	path := filepath.Join(o.Dir, "rules.yaml")
	dir := filepath.Join(o.Dir, "generations")
	const count = 10
	got := make([]int, count)
	var wg sync.WaitGroup
	for i := range count {
		write(t, path, ruleNamed(fmt.Sprintf("r%d", i)))
		g := generation(t, o, path)
		wg.Go(func() {
			n, err := OpenArchive(dir).Add(g, noon) // as another process
			if err != nil {
				t.Errorf("Add: %v", err)
			}
			got[i] = n
		})
	}
	wg.Wait()
	slices.Sort(got)
	list, err := OpenArchive(dir).List()
	if err != nil || len(list) != count || len(slices.Compact(got)) != count {
		t.Errorf("numbers %v, %d generations, %v, want %d different ones", got, len(list), err, count)
	}
}

func TestATakenNumberIsLeftAlone(t *testing.T) {
	o := testOptions(t)
	path := filepath.Join(o.Dir, "rules.yaml")
	write(t, path, ruleNamed("a"))
	g := generation(t, o, path)
	a := OpenArchive(filepath.Join(o.Dir, "generations"))
	s := saved{Entry: Entry{N: 1, Hash: g.Hash, Paths: []string{path}}, Contents: []string{"mine"}}
	must(t, os.Mkdir(a.dir, 0o700))
	write(t, a.file(1), "taken after the numbers were listed")
	if err := a.write(&s); err != nil || s.N != 2 {
		t.Fatalf("write = %d, %v, want 2", s.N, err)
	}
	if got, err := os.ReadFile(a.file(1)); err != nil || string(got) != "taken after the numbers were listed" {
		t.Errorf("generation 1 = %q, %v", got, err)
	}
	if files, err := a.Load(2); err != nil || string(files[0].Data) != "mine" {
		t.Errorf("generation 2 = %v, %v", files, err)
	}
}
