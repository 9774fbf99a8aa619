package actions

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"hookrun/engine"
)

// Bounds of a file's name.
const (
	maxName = 255 // bytes of one element of a path, as most systems have it
	maxStem = 100 // bytes of it in the name of a temporary file, which so is shorter than the 143 that eCryptfs takes
)

// File writes a file below one of its roots. Nothing that a sender writes leads
// out of them: neither "..", nor an absolute path, nor a symbolic link.
type File struct {
	Path    *engine.Template // relative to the first root, or absolute and below one of them
	Content *engine.Template // at most the 64 MiB that any template may become
	Write   WriteMode        // "": Replace
	Mode    fs.FileMode      // permissions of a file that is made, exactly; 0: 0o644, and those of the file that is replaced
	Roots   []string         // absolute, existing folders; at least one
	Guard   []string         // absolute: files, and folders with all in them, that are never written to
}

// WriteMode says what File does where the file is there already.
type WriteMode string

// Ways to write.
const (
	Create  WriteMode = "create"  // the file must not be there; it comes whole and at once where the file system has hard links
	Replace WriteMode = "replace" // whole and at once: a reader sees the old or the new one; the default. A symbolic link is replaced, not followed
	Append  WriteMode = "append"  // added at the end
)

var _ engine.Action = File{}

// Kind implements engine.Action.
func (f File) Kind() string { return "file" }

// Plan implements engine.Action. It does not see what stands at the path: a link
// in the way to it may have Do refuse it.
func (f File) Plan(in engine.Input) (engine.Plan, error) {
	t, err := f.render(in)
	if err != nil {
		return engine.Plan{}, err
	}
	return t.plan(), nil
}

// Do implements engine.Action. What it has written is on disk when it returns.
func (f File) Do(ctx context.Context, in engine.Input) (engine.Output, error) {
	t, err := f.render(in)
	if err != nil {
		return engine.Output{}, err
	}
	if ctx.Err() != nil {
		return engine.Output{}, cutOff(ctx)
	}
	in.Planned(t.plan())
	path := t.path()
	if err := guarded(path, f.Guard); err != nil {
		return engine.Output{}, engine.Permanent(fmt.Errorf("file %s: %w", showPath(path), err))
	}
	if err := t.write(); err != nil {
		return engine.Output{}, t.explain(err)
	}
	return engine.Output{Path: path, Size: int64(len(t.content))}, nil
}

// target is what a rule and an event come to.
type target struct {
	root    string
	name    string // relative to root, clean
	content string
	how     WriteMode
	mode    fs.FileMode // 0: the default
}

func (t target) path() string { return filepath.Join(t.root, t.name) }

func (t target) plan() engine.Plan {
	return engine.Plan{Path: t.path(), Write: string(t.how), Content: &t.content}
}

func (f File) render(in engine.Input) (target, error) {
	t := target{how: f.Write, mode: f.Mode.Perm()}
	if t.how == "" {
		t.how = Replace
	}
	path, err := render("file", f.Path, in)
	if err != nil {
		return t, err
	}
	if t.root, t.name, err = f.place(path); err != nil {
		return t, engine.Permanent(fmt.Errorf("file %s: %w", showPath(path), err))
	}
	if t.content, err = render("content", f.Content, in); err != nil {
		return t, err
	}
	return t, nil
}

// place finds the root of path and its name below it, by the text alone.
func (f File) place(path string) (root, name string, err error) {
	if err := checkPath(path); err != nil {
		return "", "", err
	}
	if filepath.Clean(path) == "." {
		return "", "", errors.New("names no file")
	}
	if !filepath.IsAbs(path) {
		if len(f.Roots) == 0 || !filepath.IsLocal(path) {
			return "", "", errors.New("not a path below the folders where files may be written")
		}
		return f.Roots[0], filepath.Clean(path), nil
	}
	fromOutside := f.Path.HasExpr() && f.Path.LeadingLiteral() == ""
	if fromOutside {
		return "", "", errors.New("an absolute path that comes from outside")
	}
	for _, root := range f.Roots {
		if name, err := filepath.Rel(root, path); err == nil && filepath.IsLocal(name) && name != "." {
			return root, name, nil
		}
	}
	return "", "", fmt.Errorf("not below a folder where files may be written: %s", strings.Join(f.Roots, ", "))
}

// checkPath refuses what is no sound name of a file anywhere.
func checkPath(path string) error {
	if path == "" || os.IsPathSeparator(path[len(path)-1]) || filepath.Base(path) == "." || strings.HasSuffix(filepath.ToSlash(path), "/.") {
		return errors.New("names no file")
	}
	if strings.ContainsFunc(path, unicode.IsControl) {
		return errors.New("holds a control character")
	}
	for elem := range strings.FieldsFuncSeq(path, func(r rune) bool { return r < 0x80 && os.IsPathSeparator(uint8(r)) }) {
		if elem == ".." {
			return errors.New(`".." leads out of a folder`)
		}
		if len(elem) > maxName {
			return fmt.Errorf("a name of %d bytes, more than the %d that systems take", len(elem), maxName)
		}
	}
	return nil
}

// write does all through a Root, which checks every step of a path while it
// opens it: a link that is swapped in meanwhile leads nowhere.
func (t target) write() error {
	root, err := os.OpenRoot(t.root)
	if err != nil {
		return err
	}
	defer root.Close()
	dir := filepath.Dir(t.name)
	_, err = root.Stat(dir)
	made := errors.Is(err, fs.ErrNotExist)
	if err := root.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make its folder: %w", bare(err))
	}
	switch t.how {
	case Create:
		err = t.create(root)
	case Append:
		err = t.append(root)
	default:
		err = t.replace(root)
	}
	if err != nil {
		return err
	}
	for { // a new name is on disk when its folder is; so is a new folder's
		if err := syncDir(root, dir); err != nil {
			return err
		}
		if !made || dir == "." {
			return nil
		}
		dir = filepath.Dir(dir)
	}
}

// create gives a finished file its name by a hard link, which never replaces
// another file: a crash leaves no part of one for the next try to stumble over.
func (t target) create(root *os.Root) error {
	if _, err := root.Lstat(t.name); err == nil {
		return errExists // without writing it all first
	}
	temp, err := t.writeTemp(root, t.newMode())
	if err != nil {
		return err
	}
	err = root.Link(temp, t.name)
	root.Remove(temp)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return errExists
	}
	return t.createInPlace(root) // FAT and some network disks have no links, and say so in many ways
}

// createInPlace is the create of file systems without hard links.
func (t target) createInPlace(root *os.Root) error {
	f, err := root.OpenFile(t.name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return errExists
	}
	if err != nil {
		return err
	}
	if err := t.fill(f, t.newMode()); err != nil {
		root.Remove(t.name) // so that the next try can create it
		return err
	}
	return nil
}

func (t target) replace(root *os.Root) error {
	mode := t.newMode()
	old, err := root.Lstat(t.name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	case old.Mode().IsRegular():
		if t.mode == 0 {
			mode = old.Mode().Perm() // a file that was private stays it
		}
	case old.Mode().Type() != fs.ModeSymlink:
		return errNotRegular
	}
	temp, err := t.writeTemp(root, mode)
	if err != nil {
		return err
	}
	if err := root.Rename(temp, t.name); err != nil {
		root.Remove(temp)
		return err
	}
	return nil
}

// writeTemp writes the content to a file beside the target, puts it on disk and
// returns its name.
func (t target) writeTemp(root *os.Root, mode fs.FileMode) (string, error) {
	dir, name := filepath.Split(t.name)
	temp := dir + tempName(name)
	f, err := root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return "", err
	}
	if err := t.fill(f, mode); err != nil {
		root.Remove(temp)
		return "", err
	}
	return temp, nil
}

// tempName returns a new name that tells, should a crash leave the file behind,
// whose it is and for what.
func tempName(name string) string {
	if len(name) > maxStem {
		end := maxStem
		for end > 0 && !utf8.RuneStart(name[end]) {
			end-- // half a character is no name on some systems
		}
		name = name[:end]
	}
	return "." + name + ".hookrun-" + rand.Text() + ".tmp"
}

func (t target) append(root *os.Root) error {
	const tries = 5 // the file may come and go between two looks
	var f *os.File
	var err error
	mode := fs.FileMode(0)
	for range tries {
		// Without openNonblock, opening a FIFO would wait for its reader.
		f, err = root.OpenFile(t.name, os.O_WRONLY|os.O_APPEND|openNonblock, 0)
		if !errors.Is(err, fs.ErrNotExist) {
			break
		}
		f, err = root.OpenFile(t.name, os.O_WRONLY|os.O_APPEND|os.O_CREATE|os.O_EXCL, 0o600)
		if !errors.Is(err, fs.ErrExist) {
			mode = t.newMode()
			break
		}
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errNotRegular
	}
	if err != nil {
		f.Close()
		return err
	}
	return t.fill(f, mode)
}

// fill writes the content to disk and closes f. Mode 0 leaves the permissions.
func (t target) fill(f *os.File, mode fs.FileMode) error {
	_, err := f.WriteString(t.content)
	if err == nil && mode != 0 {
		err = f.Chmod(mode) // whatever the umask is
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func (t target) newMode() fs.FileMode {
	if t.mode == 0 {
		return 0o644
	}
	return t.mode
}

var (
	errNotRegular = errors.New("not a regular file")
	errExists     = errors.New("the file exists already")
)

// explain says what was being written where, and marks what another try can't
// mend.
func (t target) explain(err error) error {
	errno, ofSystem := errors.AsType[syscall.Errno](err)
	if errno == syscall.ENXIO { // a FIFO that nobody reads
		err = errNotRegular
	}
	named := fmt.Errorf("%s %s: %w", t.how, showPath(t.path()), bare(err))
	// What the system did not say was said by us, or by the Root: a link leads
	// out of it.
	if !ofSystem || slices.Contains(lasting, errno) {
		return engine.Permanent(named)
	}
	return named
}

// lasting lists what the system says of a path that will not become right.
var lasting = []syscall.Errno{
	syscall.EACCES, syscall.EPERM, syscall.EEXIST, syscall.ENOTDIR, syscall.EISDIR,
	syscall.ENAMETOOLONG, syscall.ELOOP, syscall.ENXIO,
}
