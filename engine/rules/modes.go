package rules

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
)

// checkMode looks who else could change a file or a folder of the rules, and so
// what hookrun does: "" where it is nobody but its user and root. fatal says that
// it is everybody.
func checkMode(path string, info fs.FileInfo) (msg, hint string, fatal bool) {
	if msg, hint, fatal = checkWritable(path, info); msg == "" && ownedByAnother(info) {
		return "it belongs to another user, who can change what hookrun does", "chown it to the user that hookrun runs as, or to root", false
	}
	return msg, hint, fatal
}

// Bits of a mode.
const (
	groupWrites = 0o020
	allWrite    = 0o002
	allRead     = 0o004
)

func checkWritable(path string, info fs.FileInfo) (msg, hint string, fatal bool) {
	mode := info.Mode()
	switch {
	case !hasModes(), info.IsDir() && mode&fs.ModeSticky != 0: // there everybody can only add
		return "", "", false
	case mode&allWrite != 0:
		return "every user of the machine can change it, and so what hookrun does", "chmod o-w " + path, true
	case mode&groupWrites != 0 && !privateGroup(info):
		return "its group can change it, and so what hookrun does", "chmod g-w " + path, false
	}
	return "", "", false
}

// checkSecretMode is checkMode for the file of a secret.
func checkSecretMode(path string, info fs.FileInfo) (msg, hint string, fatal bool) {
	if msg, hint, fatal = checkWritable(path, info); msg != "" {
		return msg, hint, fatal
	}
	if hasModes() && info.Mode()&allRead != 0 {
		return "every user of the machine can read it", "chmod 600 " + path, false
	}
	return "", "", false
}

// placesOf are the file, its folder, and the folder that it is in where a link
// leads to it.
func placesOf(path string) []string {
	places := []string{path, filepath.Dir(path)}
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return places
	}
	here, err := os.Stat(filepath.Dir(path))
	there, failed := os.Stat(filepath.Dir(real))
	if err == nil && failed == nil && !os.SameFile(here, there) {
		places = append(places, filepath.Dir(real))
	}
	return places
}

// modeProblems looks at files and the folders that they are in, through links
// too: the ones that are fatal, or the others.
func modeProblems(files []File, fatal bool) []Problem {
	var problems []Problem
	var seen []string
	for _, f := range files {
		for _, path := range placesOf(f.Path) {
			if slices.Contains(seen, path) {
				continue
			}
			seen = append(seen, path)
			info, err := os.Stat(path)
			if err != nil {
				continue // it was read a moment ago; the next load tells
			}
			if msg, hint, bad := checkMode(path, info); msg != "" && bad == fatal {
				problems = append(problems, Problem{File: path, Msg: msg, Hint: hint, Warning: !bad})
			}
		}
	}
	return problems
}
