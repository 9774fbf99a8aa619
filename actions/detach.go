package actions

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// maxDetachedOutput is the most bytes of one stream of a detached command: they
// are on disk, where what is printed without end fills it.
const maxDetachedOutput = 256 << 20

// CleanDetached removes from dir, the Input.DetachDir of all steps, the folders
// of detached commands that keep does not want: what a crash left of runs that
// have ended. The path that keep gets is the Dir of the command's
// engine.Process.
func CleanDetached(dir string, keep func(folder string) bool) error {
	if dir == "" {
		return nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return fmt.Errorf("clean up after detached commands: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	errs := []error{err}
	for _, e := range entries {
		if folder := filepath.Join(dir, e.Name()); e.IsDir() && !keep(folder) {
			errs = append(errs, os.RemoveAll(folder))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("clean up after detached commands: %w", err)
	}
	return nil
}
