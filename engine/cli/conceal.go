package cli

import (
	"crypto/sha256"
	"fmt"
	"regexp"

	"hookrun/engine"
	"hookrun/engine/rules"
)

// concealer makes of rules files what may be shown of them, and remembers their
// secrets: where one stands once for all to see, it may stand elsewhere too.
type concealer struct{ known []engine.Secret }

// files are the same with secrets hidden. Behind each stands a mark that tells it
// from others, so that a diff shows that one has changed: shown takes it away.
func (c *concealer) files(files []rules.File) []rules.File {
	var all []rules.File
	for _, f := range files {
		text, known := rules.Conceal(f, func(secret string) string {
			return fmt.Sprintf("%s\x00%x\x00", engine.Masked, sha256.Sum256([]byte(secret)))
		})
		c.known = append(c.known, known...)
		all = append(all, rules.File{Path: f.Path, Data: []byte(text)})
	}
	return all
}

// marks are what files puts behind secrets: no YAML holds a NUL.
var marks = regexp.MustCompile("\x00[0-9a-f]*\x00")

// shown gives what makes texts of files fit to be seen, once all files are known.
func (c *concealer) shown() func(text string) string {
	set := engine.NewRuleSet(nil, "")
	set.Secrets = c.known
	return func(text string) string { return set.Mask(marks.ReplaceAllLiteralString(text, "")) }
}
