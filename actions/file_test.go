package actions

import (
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"

	"hookrun/engine"
)

// tree returns what is below dir: name → content, or what else it is.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		name = filepath.ToSlash(name)
		all[name] = d.Type().String()
		if d.Type().IsRegular() {
			b, err := os.ReadFile(path)
			all[name] = string(b)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func wantTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := tree(t, dir)
	for name, content := range got {
		if w, ok := want[name]; !ok || w != content {
			t.Errorf("%s is %.60q, want %.60q", name, content, w)
		}
	}
	for name := range want {
		if _, ok := got[name]; !ok {
			t.Errorf("%s is not there", name)
		}
	}
}

func put(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

func TestWriteModes(t *testing.T) {
	tests := []struct {
		name string
		how  WriteMode
		old  string // "": not there
		want string
		err  string // after the file's path
	}{
		{"create new", Create, "", "new", ""},
		{"create existing", Create, "old", "old", ": the file exists already"},
		{"replace new", Replace, "", "new", ""},
		{"replace existing", Replace, "old", "new", ""},
		{"default is replace", "", "old", "new", ""},
		{"append new", Append, "", "new", ""},
		{"append existing", Append, "old", "oldnew", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "a", "b", "f.txt")
			if tt.old != "" {
				put(t, path, tt.old, 0o644)
			}
			out, err := File{
				Path: text(t, "a/{{ body.dir }}/f.txt"), Content: text(t, "{{ body.text }}"), Write: tt.how, Roots: []string{root},
			}.Do(t.Context(), newRun(`{"dir": "b", "text": "new"}`).in)
			wantTree(t, root, map[string]string{"a": "d---------", "a/b": "d---------", "a/b/f.txt": tt.want})
			if tt.err != "" {
				wantPermanent(t, err, string(tt.how)+" "+showPath(path)+tt.err)
				return
			}
			if err != nil || out.Path != path || out.Size != 3 {
				t.Errorf("got path %s, size %d, %v, want %s, 3", out.Path, out.Size, err, path)
			}
		})
	}
}

func TestPlaceOfAFile(t *testing.T) {
	one, two := filepath.Join(t.TempDir(), "one"), filepath.Join(t.TempDir(), "two")
	notBelow := ": not below a folder where files may be written: " + one + ", " + two
	const dots = `: ".." leads out of a folder`
	const control = ": holds a control character"
	tests := []struct {
		name  string
		path  string // template
		value string // of {{ raw }}
		want  string // the place; or, with a colon before it, the error
	}{
		{"relative", "a/{{ raw }}.json", "x", filepath.Join(one, "a/x.json")},
		{"below the second root", two + "/{{ raw }}", "x/y", filepath.Join(two, "x/y")},
		{"dots within a name", "{{ raw }}", "..a..b..", filepath.Join(one, "..a..b..")},
		{"the longest name", "{{ raw }}", strings.Repeat("é", 127) + "x", filepath.Join(one, strings.Repeat("é", 127)+"x")},
		{"up", "{{ raw }}", "../../etc/x", dots},
		{"up from within", "a/{{ raw }}", "../../b", dots},
		{"up and down", "{{ raw }}", "a/../b", dots},
		{"up at the end", "{{ raw }}", "a/..", dots},
		{"up below an absolute path", one + "/{{ raw }}", "../two/x", dots},
		{"absolute, outside", "{{ raw }}", "/etc/passwd", ": an absolute path that comes from outside"},
		{"absolute from outside, within a root", "{{ raw }}", one + "/x", ": an absolute path that comes from outside"},
		{"the rule's own, not below a root", "/etc/{{ raw }}", "x", notBelow},
		{"only the beginning of a root's name", one + "{{ raw }}", "x/y", notBelow},
		{"a root itself", one + "{{ raw }}", "", notBelow},
		{"empty", "{{ raw }}", "", ": names no file"},
		{"a folder", "{{ raw }}", "a/", ": names no file"},
		{"newline", "{{ raw }}", "a\nb", control},
		{"NUL", "{{ raw }}", "a\x00b", control},
		{"escape", "{{ raw }}", "a\x1b[31m", control},
		{"DEL", "{{ raw }}", "a\x7f", control},
		{"C1", "{{ raw }}", "a\u0085", control},
		{"long name", "a/{{ raw }}/b", strings.Repeat("x", 256), ": a name of 256 bytes, more than the 255 that systems take"},
		{"the root", "{{ raw }}", ".", ": names no file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if runtime.GOOS == "windows" && strings.HasPrefix(tt.value+tt.path, "/") {
				t.Skip("no absolute path here")
			}
			f := File{Path: text(t, tt.path), Content: text(t, "x"), Roots: []string{one, two}}
			got, err := f.render(newRun(tt.value).in)
			if why, bad := strings.CutPrefix(tt.want, ":"); bad {
				full := strings.ReplaceAll(tt.path, "{{ raw }}", tt.value)
				wantPermanent(t, err, "file "+showPath(full)+":"+why)
			} else if err != nil || filepath.Join(got.root, got.name) != tt.want {
				t.Errorf("got %s in %s, %v, want %s", got.name, got.root, err, tt.want)
			}
		})
	}
}

func TestContentBound(t *testing.T) {
	big := text(t, strings.Repeat("x", 64<<20+1))
	_, err := File{Path: text(t, "x"), Content: big, Roots: []string{t.TempDir()}}.Do(t.Context(), newRun("").in)
	wantPermanent(t, err, "content: evaluation budget used up: more than 64 MiB of text")
}

// layout makes a root with links beside a folder that nobody may touch.
func layout(t *testing.T) (root, outside string, before map[string]string) {
	t.Helper()
	base := t.TempDir()
	root, outside = filepath.Join(base, "root"), filepath.Join(base, "outside")
	put(t, filepath.Join(outside, "secret"), "secret", 0o600)
	put(t, filepath.Join(root, "inner", "f"), "inner", 0o644)
	for link, to := range map[string]string{
		"absfile": filepath.Join(outside, "secret"), "relfile": "../outside/secret", "absdir": outside, "reldir": "../outside",
		"dangling": "../outside/new", "insidedir": "inner", "insidefile": "inner/f", "loop": "loop",
	} {
		if err := os.Symlink(to, filepath.Join(root, link)); err != nil {
			t.Skip("no symbolic links here:", err)
		}
	}
	return root, outside, tree(t, outside)
}

func TestLinksDoNotLeadOut(t *testing.T) {
	tests := []struct {
		path string
		how  WriteMode
		ok   bool
	}{
		{"absdir/x", Create, false}, {"absdir/x", Replace, false}, {"absdir/x", Append, false},
		{"reldir/x", Create, false}, {"reldir/x", Replace, false}, {"reldir/x", Append, false},
		{"reldir/new/x", Create, false}, {"absdir/secret", Replace, false}, {"reldir/secret", Append, false},
		{"absfile", Append, false}, {"relfile", Append, false}, {"dangling", Append, false}, {"loop", Append, false}, {"loop/x", Replace, false},
		{"absfile", Create, false}, {"relfile", Create, false}, {"dangling", Create, false}, {"dangling/x", Create, false},
		{"absfile", Replace, true}, {"relfile", Replace, true}, {"dangling", Replace, true}, // the link itself is replaced
		{"insidedir/x", Create, true}, {"insidefile", Append, true}, {"insidefile", Replace, true},
		{"inner", Create, false}, {"inner", Replace, false}, {"inner", Append, false}, {"inner/f/x", Replace, false}, // no files
	}
	for _, tt := range tests {
		t.Run(string(tt.how)+" "+tt.path, func(t *testing.T) {
			root, outside, before := layout(t)
			_, err := File{Path: text(t, tt.path), Content: text(t, "evil"), Write: tt.how, Roots: []string{root}}.Do(t.Context(), newRun("").in)
			wantTree(t, outside, before)
			if tt.ok && err != nil {
				t.Error(err)
			}
			if !tt.ok && (!engine.IsPermanent(err) || !strings.HasPrefix(err.Error(), string(tt.how)+" "+showPath(filepath.Join(root, tt.path))+": ")) {
				t.Errorf("got %v, want a permanent error that names the file", err)
			}
			for name := range tree(t, root) {
				if strings.Contains(name, ".hookrun-") {
					t.Errorf("left behind: %s", name)
				}
			}
		})
	}
}

func TestErrorOfALinkThatLeadsOut(t *testing.T) {
	root, _, _ := layout(t)
	_, err := File{Path: text(t, "relfile"), Content: text(t, "x"), Write: Append, Roots: []string{root}}.Do(t.Context(), newRun("").in)
	wantPermanent(t, err, "append "+showPath(filepath.Join(root, "relfile"))+": path escapes from parent")
}

func TestLinkSwappedDuringWrites(t *testing.T) {
	root, outside, before := layout(t)
	dir := filepath.Join(root, "swapped")
	f := File{Path: text(t, "swapped/{{ raw }}"), Content: text(t, "evil"), Roots: []string{root}}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			os.RemoveAll(dir)
			os.Symlink(outside, dir)
			os.Remove(dir)
			os.Mkdir(dir, 0o755)
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	written := 0
	for i := range 600 {
		f.Write = []WriteMode{Create, Replace, Append}[i%3]
		if _, err := f.Do(t.Context(), newRun([]string{"secret", "x"}[i%2]).in); err == nil {
			written++
		}
	}
	close(stop)
	wg.Wait()
	wantTree(t, outside, before)
	t.Logf("%d of 600 writes found a folder", written)
}

func TestReaderSeesWholeFiles(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "f")
	f := File{Path: text(t, "f"), Content: text(t, "{{ repeat(raw, 20000) }}"), Roots: []string{root}}
	write := func(letter string) {
		if _, err := f.Do(t.Context(), newRun(letter).in); err != nil {
			t.Error(err)
		}
	}
	write("a")
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			b, err := os.ReadFile(path)
			if err != nil {
				if runtime.GOOS != "windows" { // where a file that is being renamed can't be opened
					t.Error(err)
				}
			} else if len(b) != 20000 || strings.Count(string(b), string(b[:1])) != len(b) {
				t.Errorf("a reader saw %d bytes of more than one file", len(b))
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for i := range 1000 {
		write(string(rune('a' + i%26)))
	}
	close(stop)
	wg.Wait()
	if got := tree(t, root); len(got) != 1 {
		t.Errorf("left behind: %d files, want 1", len(got))
	}
}

// TestReaderSeesCreatedFilesWhole: what nobody ever sees half-made, a crash does
// not leave half-made, so that the next try can create it.
func TestReaderSeesCreatedFilesWhole(t *testing.T) {
	const size = 500_000
	root := t.TempDir()
	path := filepath.Join(root, "f")
	f := File{Path: text(t, "f"), Content: text(t, "{{ repeat(raw, 500000) }}"), Write: Create, Roots: []string{root}}
	var wg sync.WaitGroup
	stop := make(chan struct{})
	wg.Go(func() {
		for {
			if info, err := os.Stat(path); err == nil && info.Size() != size {
				t.Errorf("a reader saw %d bytes, want all %d or no file", info.Size(), size)
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	for range 200 {
		if _, err := f.Do(t.Context(), newRun("a").in); err != nil {
			t.Error(err)
		}
		if err := os.Remove(path); err != nil {
			t.Error(err)
		}
	}
	close(stop)
	wg.Wait()
	wantTree(t, root, map[string]string{})
}

func TestOnlyOneOfManyCreates(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "f")
	f := File{Path: text(t, "f"), Content: text(t, "{{ raw }}"), Write: Create, Roots: []string{root}}
	made := make(chan string, 8)
	var wg sync.WaitGroup
	for i := range cap(made) {
		wg.Go(func() {
			content := strconv.Itoa(i)
			if _, err := f.Do(t.Context(), newRun(content).in); err == nil {
				made <- content
			} else {
				wantPermanent(t, err, "create "+showPath(path)+": the file exists already")
			}
		})
	}
	wg.Wait()
	if len(made) != 1 {
		t.Fatalf("%d of %d made the file, want 1", len(made), cap(made))
	}
	wantTree(t, root, map[string]string{"f": <-made})
}

func TestCreateWithoutHardLinks(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if err := (target{name: "f", content: "one"}).createInPlace(root); err != nil {
		t.Error(err)
	}
	if err := (target{name: "f", content: "two"}).createInPlace(root); err != errExists {
		t.Errorf("got %v for a file that is there, want %v", err, errExists)
	}
	wantTree(t, dir, map[string]string{"f": "one"})
}

func TestNameOfATemporaryFile(t *testing.T) {
	tests := []struct{ name, of, stem string }{
		{"short", "push.json", "push.json"},
		{"long", strings.Repeat("x", 255), strings.Repeat("x", 100)},
		{"cut between characters", "x" + strings.Repeat("é", 127), "x" + strings.Repeat("é", 49)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := tempName(tt.of)
			if !strings.HasPrefix(got, "."+tt.stem+".hookrun-") || !strings.HasSuffix(got, ".tmp") || len(got) > 143 {
				t.Errorf("tempName(%.20q) = %q, want .%s.hookrun-….tmp of at most 143 bytes", tt.of, got, tt.stem)
			}
			if tempName(tt.of) == got {
				t.Errorf("the name %q came twice", got)
			}
		})
	}
}

func TestAppendsOfManyAreWhole(t *testing.T) {
	root := t.TempDir()
	f := File{Path: text(t, "log"), Content: text(t, "{{ raw }}\n"), Write: Append, Roots: []string{root}}
	line := strings.Repeat("x", 5000)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 20 {
				if _, err := f.Do(t.Context(), newRun(line).in); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	b, err := os.ReadFile(filepath.Join(root, "log"))
	if err != nil || string(b) != strings.Repeat(line+"\n", 160) {
		t.Errorf("the log has %d bytes, %v, want 160 whole lines", len(b), err)
	}
}
