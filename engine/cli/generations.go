package cli

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/diff"

	"hookrun/engine/control"
	"hookrun/engine/rules"
)

const rulesManual = `hookrun rules [-data FOLDER]
hookrun rules accept [HASH] [-data FOLDER]

Lists the generations of rules that were in force, the newest first: number,
since when, files. * marks the one that stands in the files now. hookrun
rollback goes back to one. What is wrong with the rules in the files comes first,
where a hookrun refuses them; then rules that on_reload holds, with what they
would have decided otherwise in the last day.

  accept   put the rules in force that are held: hookrun rules accept -h

Example:
  hookrun rules -data /var/lib/hookrun

Exit codes: 0 done, 1 there is none, 2 wrong usage.`

func rulesCommand() command {
	return command{name: "rules", summary: "list the generations of rules that were in force", manual: rulesManual, run: runRules, words: func() []command { return []command{acceptCommand()} }}
}

func runRules(ctx context.Context, p Process, c command, args []string) error {
	if len(args) > 0 && args[0] == "accept" {
		sub := acceptCommand()
		return sub.run(ctx, p, sub, args[1:])
	}
	var data string
	fs := flags(c)
	dataFlag(fs, &data)
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	entries, err := openArchive(data).List()
	if err != nil {
		return err
	}
	if len(entries) == 0 {
		return withHint(fmt.Errorf("%s holds no generation of rules", data), "-data names the folder that hookrun runs with")
	}
	if err := printRefused(ctx, screenOf(p.Stdout), data); err != nil {
		return deskError(c, err)
	}
	if err := printHeld(ctx, screenOf(p.Stdout), data); err != nil {
		return deskError(c, err)
	}
	for _, e := range entries {
		mark := " "
		if e.Current {
			mark = "*"
		}
		fmt.Fprintf(p.Stdout, "%s%4d  %s  %s\n", mark, e.N, e.At.Local().Format(time.DateTime), strings.Join(e.Paths, " "))
	}
	return nil
}

// archived is an archive as people see it.
type archived struct {
	archive *rules.Archive

	// changes is what was changed when the rules of one hash took the place of those
	// of another, nil where that is not known. It may be nil: nothing is.
	changes func(before, now string) *control.Changes
}

// Generations implements control.Archive.
func (a archived) Generations() ([]control.Generation, error) {
	entries, err := a.archive.List()
	if err != nil {
		return nil, err
	}
	all := make([]control.Generation, 0, len(entries))
	var hide concealer
	var newer edition
	for i, e := range entries {
		files, err := a.archive.Load(e.N)
		if err != nil {
			continue // it was pruned meanwhile
		}
		of := edition{fmt.Sprint("generation ", e.N), hide.files(files)}
		if len(all) > 0 {
			after := &all[len(all)-1]
			after.Diff = diffFiles(of, newer)
			if a.changes != nil {
				after.Changes = a.changes(e.Hash, after.Hash)
			}
		}
		newer = of
		all = append(all, control.Generation{N: e.N, Hash: e.Hash, At: e.At, Files: e.Paths, Current: i == 0})
	}
	shown := hide.shown()
	for i := range all {
		all[i].Diff = shown(all[i].Diff)
	}
	return all, nil
}

// edition is rules files with the word for which ones they are.
type edition struct {
	name  string
	files []rules.File
}

// diffFiles is what became of the older files, as a unified diff.
func diffFiles(older, newer edition) string {
	var out strings.Builder
	add := func(path string, was, is []byte) {
		text := diff.Diff(path+" ("+older.name+")", was, path+" ("+newer.name+")", is)
		_, text, _ = bytes.Cut(text, []byte("\n")) // the two names, which follow each on its line
		out.Write(text)
	}
	for _, f := range newer.files {
		add(f.Path, contentOf(older.files, f.Path), f.Data)
	}
	for _, f := range older.files {
		if contentOf(newer.files, f.Path) == nil {
			add(f.Path, f.Data, nil)
		}
	}
	return out.String()
}

// contentOf is what the file of that path holds; nil: it is not among them.
func contentOf(files []rules.File, path string) []byte {
	for _, f := range files {
		if f.Path == path {
			return f.Data
		}
	}
	return nil
}

// lastFiles are the files of the rules that were in force last; none where they
// can't be told.
func lastFiles(archive *rules.Archive) []rules.File {
	entries, err := archive.List()
	if err != nil || len(entries) == 0 {
		return nil
	}
	files, err := archive.Load(entries[0].N)
	if err != nil {
		return nil // it was pruned meanwhile
	}
	return files
}

// maxSourceLines bounds the lines of one rule that are shown.
const maxSourceLines = 200

// Source implements control.Archive.
func (a archived) Source() func(place string) string {
	var hide concealer
	lines := map[string][]string{} // by path
	for _, f := range hide.files(lastFiles(a.archive)) {
		lines[f.Path] = strings.Split(string(f.Data), "\n")
	}
	shown := hide.shown()
	return func(place string) string {
		i := strings.LastIndexByte(place, ':')
		if i < 0 {
			return ""
		}
		path, err := filepath.Abs(place[:i])
		if err != nil {
			return ""
		}
		line, err := strconv.Atoi(place[i+1:])
		if of := lines[path]; err == nil && 0 < line && line <= len(of) {
			return shown(block(of[line-1:]))
		}
		return ""
	}
}

// block is the first line and those that belong to it: they are further in.
func block(lines []string) string {
	indent := func(line string) int { return len(line) - len(strings.TrimLeft(line, " ")) }
	n := 1
	for n < min(len(lines), maxSourceLines) && (strings.TrimSpace(lines[n]) == "" || indent(lines[n]) > indent(lines[0])) {
		n++
	}
	return strings.TrimRight(strings.Join(lines[:n], "\n"), " \r\n")
}

const rollbackManual = `hookrun rollback -rules FILE [flags] [N]

Puts the rules files back to generation N. Without N it goes one back: from a
broken file to the rules in force, else to those before. What stands there is
kept in the data folder first. A running hookrun takes the files as it takes
every edit.

Examples:
  hookrun rules
  hookrun rollback -rules rules.yaml
  hookrun rollback -rules rules.yaml 12

Exit codes: 0 done, 1 there is no such generation, 2 wrong usage.`

func rollbackCommand() command {
	return command{name: "rollback", summary: "put the rules files back to an earlier generation", manual: rollbackManual, run: runRollback}
}

func runRollback(_ context.Context, p Process, c command, args []string) error {
	var data string
	var paths list
	fs := flags(c)
	fs.Var(&paths, "rules", "rules `FILE` or folder, as hookrun runs with; may be repeated")
	dataFlag(fs, &data)
	if err := parse(p, c, fs, args, 1); err != nil {
		return err
	}
	if err := needRules(fs, paths); err != nil {
		return err
	}
	archive := openArchive(data)
	n, err := generation(archive, paths, fs.Arg(0))
	if err != nil {
		return err
	}
	replaced, err := archive.Restore(n, paths, time.Now())
	if err != nil {
		return withHint(err, "hookrun rules lists the generations")
	}
	fmt.Fprintf(p.Stdout, "%s holds again what it held in generation %d\n", paths.String(), n)
	if replaced != "" {
		fmt.Fprintf(p.Stdout, "what stood there is kept in %s\n", replaced)
	}
	return nil
}

// generation is the one that word names. Without a word it is the one before
// what stands in the files now.
func generation(archive *rules.Archive, paths []string, word string) (int, error) {
	if word != "" {
		n, err := strconv.Atoi(word)
		if err != nil {
			return 0, &usageError{fmt.Sprintf("rollback: %q is no number of a generation", word), "hookrun rules lists them"}
		}
		return n, nil
	}
	n, err := archive.Before(paths)
	if err != nil {
		return 0, withHint(err, "hookrun rules lists the generations; -data names the folder that hookrun runs with")
	}
	return n, nil
}
