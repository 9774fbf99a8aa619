package actions

import (
	"fmt"
	"os"
	"path/filepath"
)

// guarded returns an error where writing to path would write to one of guard,
// by its name, through a link in the way to it, or as another name of the same
// file: hookrun's own files decide what it does.
func guarded(path string, guard []string) error {
	real := realPath(path)
	target, targetErr := os.Stat(path)
	for _, g := range guard {
		own := realPath(g)
		if rel, err := filepath.Rel(own, real); err == nil && filepath.IsLocal(rel) {
			return fmt.Errorf("%s is hookrun's own", g)
		}
		if info, err := os.Stat(g); err == nil && targetErr == nil && os.SameFile(info, target) {
			return fmt.Errorf("it is %s, which is hookrun's own", g)
		}
	}
	return nil
}

// realPath resolves the links in the part of path that is there.
func realPath(path string) string {
	rest := ""
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		if real, err := filepath.EvalSymlinks(at); err == nil {
			return filepath.Join(real, rest)
		}
		if at == filepath.Dir(at) {
			return filepath.Clean(path)
		}
		rest = filepath.Join(filepath.Base(at), rest)
	}
}
