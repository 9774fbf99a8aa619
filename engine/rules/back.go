package rules

import (
	"errors"
	"slices"
)

// Newest returns the newest generation that came from paths as they are given to
// Load, and its files, which Parse makes a Generation of. files is nil where
// there is none.
func (a *Archive) Newest(paths []string) (e Entry, files []File, err error) {
	list, err := a.List()
	if err != nil {
		return Entry{}, nil, err
	}
	for _, e := range list {
		if e.from(paths) {
			files, err := a.Load(e.N)
			return e, files, err
		}
	}
	return Entry{}, nil, nil
}

// Before returns the number of the newest generation that came from paths and
// differs from what stands there now: where that is broken, the one in force.
func (a *Archive) Before(paths []string) (int, error) {
	list, err := a.List()
	if err != nil {
		return 0, err
	}
	files, _ := read(paths) // what can't be read differs from every generation
	for _, e := range list {
		kept, err := a.Load(e.N)
		if err == nil && e.from(paths) && hashFiles(kept) != hashFiles(files) {
			return e.N, nil
		}
	}
	return 0, errors.New("there is no earlier generation of these rules")
}

// from reports whether all files of the generation came from paths.
func (e Entry) from(paths []string) bool {
	return !slices.ContainsFunc(e.Paths, func(file string) bool {
		return !slices.ContainsFunc(paths, func(p string) bool { return holds(p, file) })
	})
}
