package rules

import (
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
)

func TestInterpreterOfAScriptIsLookedFor(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the first line of a file means nothing here")
	}
	const name, ends = "command ./script.sh: its interpreter ", "command ./script.sh: the file has Windows line ends"
	tests := []struct{ name, script, want string }{
		{"there", "#!/bin/sh -e\n", ""},
		{"a space before it", "#! /bin/sh\necho\n", ""},
		{"no script", "\x7fELF", ""},
		{"empty", "", ""},
		{"missing", "#!/opt/none/bin/ruby\n", name + "/opt/none/bin/ruby does not exist or cannot be executed"},
		{"missing, and nothing else in the file", "#!/opt/none/bin/ruby", name + "/opt/none/bin/ruby does not exist or cannot be executed"},
		{"Windows line ends", "#!/bin/sh\r\necho\r\n", ends},
		{"Windows line ends behind env", "#!/usr/bin/env bash\r\n", ends},
		{"by env", "#!/usr/bin/env bash\n", ""},
		{"by env, missing", "#!/usr/bin/env python9\nimport os\n", name + "python9 is not in PATH"},
		{"by an env that is missing", "#!/opt/env bash\n", name + "/opt/env does not exist or cannot be executed"},
		{"options of env", "#!/usr/bin/env -S -u HOME LANG=C python9 -u\n", name + "python9 is not in PATH"},
		{"split at once", "#!/usr/bin/env -Spython9 -u\n", name + "python9 is not in PATH"},
		{"another PATH", "#!/usr/bin/env -S PATH=/opt/bin python9\n", ""},
		{"quotes", "#!/usr/bin/env -S 'python9'\n", ""},
		{"an option that is not known", "#!/usr/bin/env --unset HOME\n", ""},
		{"a path behind env", "#!/usr/bin/env /opt/x\n", ""},
		{"nothing behind env", "#!/usr/bin/env\n", ""},
		{"relative", "#!bin/none\n", ""},
		{"cut off", "#!/" + strings.Repeat("x", maxFirstLine) + "\n", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := testOptions(t)
			o.LookPath = func(file string) (string, error) {
				if filepath.Base(file) == "script.sh" || slices.Contains([]string{"/bin/sh", "/usr/bin/env", "bash"}, file) {
					return file, nil
				}
				return "", errors.New("not found")
			}
			must(t, os.WriteFile(filepath.Join(o.Dir, "srv", "script.sh"), []byte(tt.script), 0o755))
			const text = "rules: [{name: a, actions: [{exec: [./script.sh], dir: srv}]}]"
			want := tt.want
			if want != "" {
				want = `rules.yaml:1:37: warning: rule "a": ` + want
			}
			if got := problemsOf(t, text, o); got != want {
				t.Errorf("problems = %s, want %s", got, want)
			}
		})
	}
}
