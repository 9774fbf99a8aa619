package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTestsThatAreShownPass runs the tests of the manual and of the README.
func TestTestsThatAreShownPass(t *testing.T) {
	const rules = `
rules:
  - name: deploy main
    bucket: deploys
    when: body.ref == "refs/heads/main"
    actions:
      - id: build
        exec: [make, deploy, "REF={{ body.after }}"]
        env: {BRANCH: "{{ body.ref }}"}
      - http: https://chat.example/hook
        json: {text: "deployed {{ steps.build.stdout }}"}
`
	_, manual, _ := strings.Cut(testManual, "\n  # rules.tests.yaml\n")
	manual, _, _ = strings.Cut(manual, "\n\n")
	for _, text := range append(readme(t, "yaml tests"), manual) {
		dir := t.TempDir()
		for name, content := range map[string]string{"rules.yaml": rules, "rules.tests.yaml": text} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var stdout, stderr bytes.Buffer
		code := Main(t.Context(), []string{"test", "-rules", filepath.Join(dir, "rules.yaml")}, Process{Stdout: &stdout, Stderr: &stderr})
		if code != exitOK || !strings.HasSuffix(stdout.String(), "  2 tests\n") {
			t.Errorf("exit code %d, %s%s, want two tests that pass:\n%s", code, stdout.String(), stderr.String(), text)
		}
	}
}
