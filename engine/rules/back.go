package rules

import (
	"errors"
	"slices"
	"strings"
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

// Before returns the number of the generation that came from paths before the
// one that stands there now. That one is the oldest of its content, so that who
// goes back twice goes back two. Where what stands there was never in force, it
// is the newest.
func (a *Archive) Before(paths []string) (int, error) {
	list, err := a.kept()
	if err != nil {
		return 0, err
	}
	list = slices.DeleteFunc(list, func(s *saved) bool { return !s.from(paths) })
	files, problems := read(paths)
	next := 0
	for i, s := range list {
		if len(problems) == 0 && contents(s.files()) == contents(files) {
			next = i + 1
		}
	}
	switch {
	case len(list) == 0:
		return 0, errors.New("no generation of these rules is kept")
	case next == len(list):
		return 0, errors.New("what stands there is the oldest content that is kept; hookrun rollback -rules FILE N goes to another")
	}
	return list[next].N, nil
}

// contents names what files hold, in whatever order they were read.
func contents(files []File) string {
	return hashFiles(slices.SortedFunc(slices.Values(files), func(a, b File) int {
		return strings.Compare(absolute(a.Path), absolute(b.Path))
	}))
}

// from reports whether all files of the generation came from paths.
func (e Entry) from(paths []string) bool {
	return !slices.ContainsFunc(e.Paths, func(file string) bool {
		return !slices.ContainsFunc(paths, func(p string) bool { return holds(p, file) })
	})
}
