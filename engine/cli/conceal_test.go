package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"hookrun/engine/rules"
)

// openRules are rules with every secret written out in them, %[1]s of them another
// one each time.
const openRules = `admin: {listen: "127.0.0.1:8081", token: "admin-token-number-%[1]s"}
buckets:
  x: {verify: {scheme: github, secret: "verify-secret-%[1]s"}}
rules:
  - name: a
    bucket: x
    actions:
      - http: https://chat.example/hook?room=1&key=url-key-%[1]s
        headers: {Authorization: "Bearer header-token-%[1]s"}
        body: "after verify-secret-%[1]s"
`

// TestSecretsInRulesAreNotShown: neither those of now nor former ones, in sources,
// diffs and what is told of rules.
func TestSecretsInRulesAreNotShown(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "rules.yaml")
	archive := rules.OpenArchive(filepath.Join(dir, "generations"))
	var last *rules.Generation
	load := func(secret string) *rules.Generation {
		t.Helper()
		if err := os.WriteFile(path, fmt.Appendf(nil, openRules, secret), 0o600); err != nil {
			t.Fatal(err)
		}
		g, problems := rules.Load([]string{path}, rules.Options{Dir: dir})
		if g == nil {
			t.Fatal(problems)
		}
		return g
	}
	for _, secret := range []string{"one", "two", "three"} {
		last = load(secret)
		if _, err := archive.Add(last, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	got, err := archived{archive: archive}.Generations()
	if err != nil || len(got) != 3 {
		t.Fatalf("Generations = %+v, %v; want three", got, err)
	}
	_, lines, _ := strings.Cut(got[0].Diff, "@@ -1,10 +1,10 @@\n")
	wantText(t, "difference", lines, `-admin: {listen: "127.0.0.1:8081", token: "***"}
+admin: {listen: "127.0.0.1:8081", token: "***"}
 buckets:
-  x: {verify: {scheme: github, secret: "***"}}
+  x: {verify: {scheme: github, secret: "***"}}
 rules:
   - name: a
     bucket: x
     actions:
-      - http: https://chat.example/hook?room=1&key=***
-        headers: {Authorization: "***"}
-        body: "after ***"
+      - http: https://chat.example/hook?room=1&key=***
+        headers: {Authorization: "***"}
+        body: "after ***"
`)
	source := archived{archive: archive}.Source()(last.Rules.Rules[0].Place)
	wantText(t, "source", source, `  - name: a
    bucket: x
    actions:
      - http: https://chat.example/hook?room=1&key=***
        headers: {Authorization: "***"}
        body: "after ***"`)
	g, told := gateOf(threeEvents(), last)
	g.offer(t.Context(), load("four"))
	noSecrets(t, "generations", got)
	noSecrets(t, "told", *told)
	noSecrets(t, "shown beside those before", shownGeneration(last, load("five"), nil))
}

func noSecrets(t *testing.T, what string, v any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"admin-token-", "verify-secret-", "url-key-", "header-token-"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%s: %s stands in %s", what, secret, text)
		}
	}
}
