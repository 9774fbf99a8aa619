package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"hookrun/engine/rules"
)

const rulesManual = `hookrun rules [-data FOLDER]

Lists the generations of rules that were in force, the newest first: number,
since when, files. * marks the one that stands in the files now. hookrun
rollback goes back to one.

Example:
  hookrun rules -data /var/lib/hookrun

Exit codes: 0 done, 1 there is none, 2 wrong usage.`

func rulesCommand() command {
	return command{name: "rules", summary: "list the generations of rules that were in force", manual: rulesManual, run: runRules}
}

func runRules(_ context.Context, p Process, c command, args []string) error {
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
	for _, e := range entries {
		mark := " "
		if e.Current {
			mark = "*"
		}
		fmt.Fprintf(p.Stdout, "%s%4d  %s  %s\n", mark, e.N, e.At.Local().Format(time.DateTime), strings.Join(e.Paths, " "))
	}
	return nil
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
