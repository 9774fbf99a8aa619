package rules

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Bounds of what is read as rules.
const (
	maxFile  = 4 << 20  // bytes of one file
	maxTotal = 32 << 20 // bytes of all files
	maxFiles = 1000
)

// File is a rules file as it was read.
type File struct {
	Path string // as the user gave it, or the folder as given and the file's name
	Data []byte
}

// read returns the files that paths name: a file itself, of a folder its
// visible *.yaml and *.yml, sorted. No file is read twice.
func read(paths []string) (files []File, problems []Problem) {
	if len(paths) == 0 {
		return nil, []Problem{{Msg: "no rules file is given", Hint: "hookrun -rules rules.yaml"}}
	}
	seen, total := map[string]bool{}, 0
	for _, path := range paths {
		names, err := filesOf(path)
		if err != nil {
			problems = append(problems, Problem{File: path, Msg: cause(err)})
			continue
		}
		if len(names) == 0 {
			problems = append(problems, Problem{File: path, Msg: "the folder holds no *.yaml file"})
		}
		for _, name := range names {
			if key := absolute(name); seen[key] {
				continue
			} else {
				seen[key] = true
			}
			if len(files) == maxFiles || total > maxTotal {
				return files, append(problems, Problem{File: name, Msg: fmt.Sprintf("too much to read: more than %d files or %d MiB of rules", maxFiles, maxTotal>>20)})
			}
			data, err := readFile(name, maxFile)
			if err != nil {
				problems = append(problems, Problem{File: name, Msg: cause(err)})
				continue
			}
			total += len(data)
			files = append(files, File{name, data})
		}
	}
	return files, append(problems, modeProblems(files, true)...)
}

// filesOf returns path itself or, of a folder, the rules files in it.
func filesOf(path string) ([]string, error) { return FilesOf(path, isRulesName) }

// FilesOf returns path itself or, of a folder, the files in it that have a name
// which is wanted.
func FilesOf(path string, wanted func(name string) bool) ([]string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		return []string{path}, nil
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name := filepath.Join(path, e.Name())
		if !wanted(e.Name()) {
			continue
		}
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			continue
		}
		names = append(names, name)
	}
	return names, nil
}

// isRulesName reports whether a file of this name in a folder holds rules. An
// editor's and a ConfigMap's own files begin with a dot or end otherwise, and
// tests of rules have a name of their own.
func isRulesName(name string) bool {
	ext := filepath.Ext(name)
	return !strings.HasPrefix(name, ".") && (ext == ".yaml" || ext == ".yml") && !IsTestsName(name)
}

// IsTestsName reports whether a file of this name in a folder holds tests of rules.
func IsTestsName(name string) bool {
	return !strings.HasPrefix(name, ".") && (strings.HasSuffix(name, ".tests.yaml") || strings.HasSuffix(name, ".tests.yml"))
}

// readFile reads a regular file of at most most bytes: a pipe or a device could
// keep us waiting for ever.
func readFile(path string, most int64) ([]byte, error) {
	data, err := readStart(path, most+1)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > most {
		return nil, fmt.Errorf("larger than %d KiB", most>>10)
	}
	return data, nil
}

// readStart reads the first bytes of a regular file, at most most.
func readStart(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, most))
}

// cause is what went wrong without the path, which stands before it anyway.
func cause(err error) string {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		err = e.Err
	}
	if errors.Is(err, fs.ErrNotExist) {
		return "no such file or folder"
	}
	return err.Error()
}

// absolute is path as an absolute one where the system can tell.
func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// hashFiles names a generation by its paths and contents.
func hashFiles(files []File) string {
	h := sha256.New()
	for _, f := range files {
		for _, part := range [][]byte{[]byte(absolute(f.Path)), f.Data} {
			binary.Write(h, binary.BigEndian, uint64(len(part))) // a hash takes all that it is given
			h.Write(part)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Fingerprint names what stands below paths now, good or bad. For good files it
// is the Hash of their Generation.
func Fingerprint(paths []string) string {
	files, problems := read(paths)
	hash := hashFiles(files)
	for _, p := range problems {
		hash += "\n" + p.String()
	}
	return hash
}
