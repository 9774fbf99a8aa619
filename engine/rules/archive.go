package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// keepGenerations is how many good generations an Archive keeps, and of how many
// restorations it keeps what they replaced.
const keepGenerations = 20

// Archive keeps the last good generations in a folder, each as one file, and what
// was replaced by going back to one. Several processes may use the folder at
// once: a rollback beside the daemon. Every file is there whole or not at all,
// and no number is given twice. Only two Restores at once may leave files of
// both behind.
//
//	<dir>/000007.json            number, time, hash, files with their contents
//	<dir>/replaced-<time>/       rules files as they were before a Restore
type Archive struct{ dir string }

// Entry describes one generation of an Archive.
type Entry struct {
	N     int       `json:"n"` // from 1, never used again
	At    time.Time `json:"at"`
	Hash  string    `json:"hash"`
	Paths []string  `json:"paths"` // absolute

	// Current says that the files at Paths hold this generation now, and no newer
	// one. List sets it.
	Current bool `json:"-"`
}

// saved is the file of a generation.
type saved struct {
	Entry
	Contents []string `json:"contents"` // in the order of Paths; rules are UTF-8
}

// OpenArchive returns the archive in a folder, which is made when there is
// something to keep.
func OpenArchive(dir string) *Archive { return &Archive{dir} }

// Add keeps a generation and returns its number. One with the hash of the newest
// is that one.
func (a *Archive) Add(g *Generation, at time.Time) (n int, err error) {
	numbers, err := a.numbers()
	if err != nil {
		return 0, err
	}
	s := saved{Entry: Entry{N: 1, At: at.UTC(), Hash: g.Hash}}
	if len(numbers) > 0 {
		newest := numbers[len(numbers)-1]
		if last, err := a.load(newest); err == nil && last.Hash == g.Hash {
			return newest, nil
		}
		s.N = newest + 1
	}
	for _, f := range g.Files {
		s.Paths = append(s.Paths, absolute(f.Path))
		s.Contents = append(s.Contents, string(f.Data))
	}
	if err := a.write(&s); err != nil {
		return 0, fmt.Errorf("keep generation %d: %w", s.N, err)
	}
	return s.N, a.prune(append(numbers, s.N))
}

// write keeps s under its number, or under the next one that nobody has taken
// meanwhile.
func (a *Archive) write(s *saved) error {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return err
	}
	for ; ; s.N++ {
		f, err := os.OpenFile(a.file(s.N), os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			return err
		}
		f.Close() // it is empty: a generation that cannot be read, until the rename
		break
	}
	data, err := json.Marshal(s)
	if err == nil {
		err = writeFile(a.file(s.N), data, 0o600)
	}
	if err != nil {
		os.Remove(a.file(s.N)) // best effort: one that cannot be read is passed over
	}
	return err
}

// prune removes what is beyond keepGenerations.
func (a *Archive) prune(numbers []int) error {
	for _, n := range numbers[:max(0, len(numbers)-keepGenerations)] {
		if err := os.Remove(a.file(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove generation %d: %w", n, err)
		}
	}
	return nil
}

func (a *Archive) file(n int) string { return filepath.Join(a.dir, fmt.Sprintf("%06d.json", n)) }

// numbers of the generations, oldest first.
func (a *Archive) numbers() ([]int, error) {
	entries, err := os.ReadDir(a.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list generations: %w", err)
	}
	var numbers []int
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if n, err := strconv.Atoi(name); ok && err == nil && n > 0 {
			numbers = append(numbers, n)
		}
	}
	slices.Sort(numbers)
	return numbers, nil
}

// List returns the generations, newest first. One whose file cannot be read is
// left out.
func (a *Archive) List() ([]Entry, error) {
	kept, err := a.kept()
	if err != nil {
		return nil, err
	}
	var list []Entry
	found := false
	for _, s := range kept {
		s.Current = !found && s.stands()
		found = found || s.Current
		list = append(list, s.Entry)
	}
	return list, nil
}

// stands reports whether the files of the generation hold what they held then.
func (s *saved) stands() bool {
	return !slices.ContainsFunc(s.files(), func(f File) bool {
		data, err := readFile(f.Path, maxFile)
		return err != nil || !bytes.Equal(data, f.Data)
	})
}

// kept returns the generations that can be read, newest first.
func (a *Archive) kept() ([]*saved, error) {
	numbers, err := a.numbers()
	if err != nil {
		return nil, err
	}
	var list []*saved
	for _, n := range slices.Backward(numbers) {
		if s, err := a.load(n); err == nil {
			list = append(list, s)
		}
	}
	return list, nil
}

// Load returns the files of generation n, which Parse makes a Generation of.
func (a *Archive) Load(n int) ([]File, error) {
	s, err := a.load(n)
	if err != nil {
		return nil, err
	}
	return s.files(), nil
}

func (s *saved) files() []File {
	var files []File
	for i, path := range s.Paths {
		files = append(files, File{path, []byte(s.Contents[i])})
	}
	return files
}

func (a *Archive) load(n int) (*saved, error) {
	data, err := os.ReadFile(a.file(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no generation %d", n)
	}
	if err != nil {
		return nil, fmt.Errorf("read generation %d: %w", n, err)
	}
	s := &saved{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read generation %d: %w", n, err)
	}
	if s.N != n || len(s.Paths) != len(s.Contents) {
		return nil, fmt.Errorf("read generation %d: the file is damaged", n)
	}
	return s, nil
}

// Restore writes the files of generation n back to where they came from, which
// must be below paths as they are given to Load. Rules files below paths that
// generation n did not have go away. What stands there is kept first, in a new
// folder that Restore returns; "" where nothing does.
func (a *Archive) Restore(n int, paths []string, at time.Time) (replaced string, err error) {
	files, err := a.Load(n)
	if err != nil {
		return "", err
	}
	for _, f := range files {
		if !slices.ContainsFunc(paths, func(p string) bool { return holds(p, f.Path) }) {
			return "", fmt.Errorf("go back to generation %d: its file %s is not among the rules that are used now", n, f.Path)
		}
	}
	now, err := present(paths)
	if err != nil {
		return "", fmt.Errorf("go back to generation %d: %w", n, err)
	}
	replaced, err = a.keep(now, at)
	if err != nil {
		return "", fmt.Errorf("go back to generation %d: keep what is there: %w", n, err)
	}
	for _, f := range files {
		if err := overwrite(f.Path, f.Data); err != nil {
			return replaced, fmt.Errorf("go back to generation %d: %w", n, err)
		}
	}
	for _, path := range now {
		if slices.ContainsFunc(files, func(f File) bool { return f.Path == path }) {
			continue
		}
		if err := os.Remove(path); err != nil {
			return replaced, fmt.Errorf("go back to generation %d: %w", n, err)
		}
	}
	return replaced, nil
}

// holds reports whether file is path or a rules file in the folder path.
func holds(path, file string) bool {
	path = absolute(path)
	return path == file || path == filepath.Dir(file) && isRulesName(filepath.Base(file))
}

// present returns the rules files that are there, readable as rules or not, as
// absolute paths.
func present(paths []string) ([]string, error) {
	var now []string
	for _, path := range paths {
		names, err := filesOf(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			if abs := absolute(name); !slices.Contains(now, abs) {
				now = append(now, abs)
			}
		}
	}
	return now, nil
}

// keep copies files into a new folder.
func (a *Archive) keep(paths []string, at time.Time) (folder string, err error) {
	if len(paths) == 0 {
		return "", nil
	}
	base := filepath.Join(a.dir, "replaced-"+at.UTC().Format("20060102T150405Z"))
	folder = base
	for i := 2; ; i++ {
		err := os.Mkdir(folder, 0o700)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrExist) {
			return "", err
		}
		folder = fmt.Sprintf("%s-%d", base, i)
	}
	for i, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return "", err
		}
		// Numbered, as files of two folders may have one name.
		if err := writeFile(filepath.Join(folder, fmt.Sprintf("%d-%s", i+1, filepath.Base(path))), data, 0o600); err != nil {
			return "", err
		}
	}
	return folder, a.pruneReplaced()
}

func (a *Archive) pruneReplaced() error {
	folders, err := filepath.Glob(filepath.Join(a.dir, "replaced-*")) // sorted by time
	if err != nil {
		return err
	}
	for _, folder := range folders[:max(0, len(folders)-keepGenerations)] {
		if err := os.RemoveAll(folder); err != nil {
			return err
		}
	}
	return nil
}

// overwrite replaces the content of a file, which a link may lead to, and keeps
// its mode.
func overwrite(path string, data []byte) error {
	mode := fs.FileMode(0o644)
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil {
		mode = info.Mode().Perm()
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return writeFile(path, data, mode)
}

// writeFile writes a file whole: who reads it sees the old or the new one, after
// a crash too.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".hookrun-*") // hidden: no rules file
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // not there any more when all went well
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(mode), f.Sync(), f.Close())
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
