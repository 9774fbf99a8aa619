package actions

import (
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"hookrun/engine"
)

// outputFile is the variable that names the file for a command's outputs.
const outputFile = "HOOKRUN_OUTPUT"

// maxOutputs is the most bytes of the file of HOOKRUN_OUTPUT.
const maxOutputs = 64 << 10

// identifier is what may be shown of a name that is none of the rule's: what is
// none may be a part of a value.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// readOutputs returns what a command that succeeded wrote for its outputs. Its
// errors name lines and the rule's names, never a value.
func (c command) readOutputs(path string) (map[string]string, error) {
	if len(c.outputs) == 0 {
		return nil, nil
	}
	text, err := c.readOutputFile(path)
	if errors.Is(err, os.ErrNotExist) {
		err = nil // the command removed it: nothing was written
	}
	var outputs map[string]string
	if err == nil {
		outputs, err = parseOutputs(string(text), c.outputs)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", outputFile, err)
	}
	return outputs, nil
}

// parseOutputs reads name=value lines. Of a name the last line counts.
func parseOutputs(text string, names []string) (map[string]string, error) {
	outputs, n := map[string]string{}, 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if err := checkOutput(name, value, found, names); err != nil {
			return nil, engine.Permanent(fmt.Errorf("line %d: %w", n, err))
		}
		outputs[name] = value
	}
	var missing []string
	for _, name := range names {
		if _, ok := outputs[name]; !ok {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return nil, engine.Permanent(fmt.Errorf(`the command did not write %s; in a script: echo "%s=…" >>"$%s"`,
			quoted(missing), missing[0], outputFile))
	}
	return outputs, nil
}

func checkOutput(name, value string, found bool, names []string) error {
	switch {
	case !found:
		return errors.New(`no name=value; a value ends where its line does`)
	case !slices.Contains(names, name):
		// A name that is near one of the rule's is a slip, and no part of a value.
		if hint := engine.Nearest(name, slices.Clone(names)); hint != "" && identifier.MatchString(name) {
			return fmt.Errorf("%q is none of the step's outputs; %s", name, hint)
		}
		return fmt.Errorf(`what stands before "=" is none of the step's outputs, which are %s`, quoted(names))
	case !utf8.ValidString(value):
		return fmt.Errorf("the value of %q is not UTF-8", name)
	case strings.ContainsRune(value, 0):
		return fmt.Errorf("the value of %q holds a NUL byte", name)
	}
	return nil
}

func quoted(names []string) string {
	var b strings.Builder
	for i, name := range names {
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", name)
	}
	return b.String()
}

// readOutputFile reads what the command wrote. Where that runs as another user,
// no link of theirs leads hookrun to a file that they may not read.
func (c command) readOutputFile(path string) ([]byte, error) {
	if !c.bounds.another() {
		return readSmall(path, maxOutputs)
	}
	f, err := os.OpenFile(path, os.O_RDONLY|openNonblock|openNoFollow, 0)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !isOwnedBy(info, c.bounds.RunAs.UID) {
		return nil, engine.Permanent(errors.New("the command put a file of another user in the place of the file"))
	}
	return readOpen(f, maxOutputs)
}

// readSmall reads a file that a command had in its hands: by now it may be
// gone, long, or no file at all.
func readSmall(path string, limit int64) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|openNonblock, 0) // a FIFO would wait for its writer
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	return readOpen(f, limit)
}

func readOpen(f *os.File, limit int64) ([]byte, error) {
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, engine.Permanent(errors.New("the command put something else in the place of the file"))
	}
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, bare(err)
	}
	if int64(len(b)) > limit {
		return nil, engine.Permanent(fmt.Errorf("more than %d bytes", limit))
	}
	return b, nil
}
