package engine

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// eventFiles are the files of the event while an attempt goes on.
type eventFiles struct {
	tried bool
	dir   string   // "": there are none
	paths []string // in the order of the event
}

// layFiles writes the files of the event for the steps of this attempt, before
// the first of them. Nobody else may read them.
//
// The folder has the name of the run, so that a command that outlives hookrun
// finds its files again when the next attempt goes on with it.
func (a *attempt) layFiles() error {
	if a.files.tried || !mayHaveFiles(a.event) {
		return nil
	}
	doc, _ := parseBody(a.event.Header, a.event.Body)
	if len(doc.files) == 0 {
		a.files.tried = true
		return nil
	}
	parent := cmp.Or(a.tempDir, os.TempDir())
	dir, err := filepath.Abs(filepath.Join(parent, "hookrun-files-"+a.run.ID))
	if err == nil {
		a.files.dir = dir
		err = emptyDir(dir)
	}
	var paths []string
	for i, f := range doc.files {
		if err != nil {
			break
		}
		path := filepath.Join(dir, strconv.Itoa(i+1)+extension(f.Name))
		paths = append(paths, path)
		err = os.WriteFile(path, f.Data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the files of the event to %s: %w", parent, bareError(err))
	}
	a.files.paths, a.files.tried = paths, true
	return nil
}

// mayHaveFiles spares other events the reading of their body.
func mayHaveFiles(ev *Event) bool {
	t := NewScope(ev).header("Content-Type")
	return strings.HasPrefix(strings.ToLower(strings.TrimSpace(t)), "multipart/")
}

// emptyDir makes the folder, without what a crash left there.
func emptyDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.Mkdir(dir, 0o700)
}

var plainExtension = regexp.MustCompile(`^\.[A-Za-z0-9]{1,10}$`)

// extension is that of a name from outside, by which programs tell kinds of
// files: nothing else of the name gets into a path.
func extension(name string) string {
	if ext := filepath.Ext(name); plainExtension.MatchString(ext) {
		return strings.ToLower(ext)
	}
	return ""
}

// bareError is without the path, which the caller names.
func bareError(err error) error {
	if at, ok := errors.AsType[*os.PathError](err); ok {
		return at.Err
	}
	return err
}

// dropFiles removes the files when the attempt ends, unless a detached command
// goes on with them after hookrun.
func (a *attempt) dropFiles() {
	if a.files.dir == "" || a.last != nil && a.last.Process.Dir != "" {
		return
	}
	if err := os.RemoveAll(a.files.dir); err != nil {
		a.log.Warn("files of the event are left over", "dir", a.files.dir, "err", err)
	}
}
