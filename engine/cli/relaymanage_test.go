package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"hookrun/relay/account"
	"hookrun/relay/manage"
)

// maxManualLine bounds the lines of a manual, in characters; examples may be longer
// than what is explained.
const maxManualLine = 122

// allRelayCommands are the manuals of those behind relay, with the words behind them.
func allRelayCommands(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, c := range relayWords() {
		for _, word := range append([]string{""}, "list", "create", "show", "update", "delete", "enable", "disable", "resend", "follow", "forget") {
			args := strings.Fields(wordOf(c) + " " + word + " -h")
			var out, errs bytes.Buffer
			if code := Main(t.Context(), append([]string{"relay"}, args...), Process{Stdout: &out, Stderr: &errs}); code == exitOK {
				all[strings.TrimSpace("relay "+wordOf(c)+" "+word)] = out.String()
			}
		}
	}
	return all
}

func TestRelayCommandsHaveManuals(t *testing.T) {
	all := allRelayCommands(t)
	if len(all) < 25 {
		t.Fatalf("%d commands behind relay print a manual, want all", len(all))
	}
	for name, manual := range all {
		name = strings.TrimSuffix(name, " list")
		for _, want := range []string{"hookrun " + name, "Examples:", "Exit codes:", "-relay URL", "-secret-file FILE"} {
			if !strings.Contains(manual, want) {
				t.Errorf("the manual of %s does not say %q", name, want)
			}
		}
		if strings.Contains(manual, "-secret SECRET") {
			t.Errorf("%s takes a secret as a flag, which all users of a machine can read", name)
		}
		text, _, _ := strings.Cut(manual, "\nFlags:")
		for line := range strings.Lines(text) {
			if len([]rune(line)) > maxManualLine {
				t.Errorf("the manual of %s has a long line: %s", name, line)
			}
		}
	}
}

func TestShellWordIsOneWord(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"sk-abc_9.X", "sk-abc_9.X"},
		{"", "''"},
		{"a b", "'a b'"},
		{"$(reboot)", "'$(reboot)'"},
		{"a'; reboot; '", `'a'\''; reboot; '\'''`},
		{"a\nreboot", `'a\u000areboot'`},
	} {
		if got := shellWord(tt.text); got != tt.want {
			t.Errorf("shellWord(%q) = %s, want %s", tt.text, got, tt.want)
		}
	}
}

func TestRelayOptionsComeFromFlagsThenEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte("of-the-file\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name    string
		flags   relayFlags
		env     map[string]string
		want    manage.Options
		problem string
	}{
		{name: "nothing", problem: "needs a key and a secret"},
		{name: "environment", env: map[string]string{"RELAY_URL": "https://r", "RELAY_KEY": "k", "RELAY_SECRET": "s"}, want: manage.Options{URL: "https://r", Key: "k", Secret: "s"}},
		{
			name: "flags first", flags: relayFlags{url: "https://f", key: "fk", secretFile: file, overHTTP: true},
			env:  map[string]string{"RELAY_URL": "https://r", "RELAY_KEY": "k", "RELAY_SECRET": "s"},
			want: manage.Options{URL: "https://f", Key: "fk", Secret: "of-the-file", Insecure: true},
		},
		{name: "secret alone", env: map[string]string{"RELAY_SECRET": "sk-1"}, want: manage.Options{URL: managedRelay, Secret: "sk-1"}},
		{name: "secret that names no token", env: map[string]string{"RELAY_SECRET": "s"}, problem: "needs a key and a secret"},
		{name: "no file", flags: relayFlags{key: "k", secretFile: file + "2"}, problem: "-secret-file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.flags.options(func(name string) string { return tt.env[name] })
			if tt.problem != "" {
				if err == nil || !strings.Contains(err.Error(), tt.problem) {
					t.Errorf("options: %v, want an error with %q", err, tt.problem)
				}
				return
			}
			tt.want.UserAgent = userAgent()
			if err != nil || got != tt.want {
				t.Errorf("options: %+v, %v, want %+v", got, err, tt.want)
			}
		})
	}
}

func TestSecretFileHoldsASecretAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "secret")
	for _, text := range []string{"", "\n", "a\nb\n", "a\x00", strings.Repeat("a", maxSecretFile+1)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if secret, err := secretIn(file); err == nil {
			t.Errorf("secretIn of %.10q = %.10q, want an error", text, secret)
		}
	}
}

func TestRulesOfAnOutputComeFromAFile(t *testing.T) {
	want := &account.Rule{Match: &account.Match{Type: "value", Parameter: account.Parameter{Source: "header", Name: "X-E"}, Value: "push"}}
	for _, tt := range []struct {
		name, text string
		problem    string // the first that is told; "": it is good
	}{
		{"YAML", "match:\n  type: value\n  parameter: {source: header, name: X-E}\n  value: push\n", ""},
		{"JSON", "{\n\t\"match\": {\n\t\t\"type\": \"value\", \"parameter\": {\"source\": \"header\", \"name\": \"X-E\"}, \"value\": \"push\"\n\t}\n}\n", ""},
		{"Windows", "\ufeffmatch:\r\n  type: value\r\n  parameter: {source: header, name: X-E}\r\n  value: push\r\n", ""},
		{"a beginning", "---\n# which\nmatch: {type: value, parameter: {source: header, name: X-E}, value: push}\n", ""},
		{"typo", "---\nmatch: {typ: value}\n", "f:2:8: match needs type"},
		{"key beside", "match: {type: value, parameter: {source: header, name: X-E}, value: push}\nnot: {}\n", "f:1:1: "},
		{"key of the output", "match: {type: value, parameter: {source: header, name: X-E}, value: push}\nlock_path: true\n", "f:2:1: unknown key"},
		{"comment alone", "# nothing\n", "f: \"rules\" has no value"},
		{"syntax", "match: {\n", "f:"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Chdir(t.TempDir())
			if err := os.WriteFile("f", []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			var said bytes.Buffer
			got, err := rulesInFile(Process{Stderr: &said}, "f")
			if tt.problem != "" {
				if !errors.Is(err, exitError(exitFailed)) || !strings.HasPrefix(said.String(), "hookrun: "+tt.problem) {
					t.Errorf("rules %v, %v, said %q, want %q", got, err, said.String(), tt.problem)
				}
				return
			}
			if err != nil || got == nil || got.Match == nil || *got.Match != *want.Match {
				t.Errorf("rules %+v, %v, said %q", got, err, said.String())
			}
		})
	}
}

func TestWindowsOfAnID(t *testing.T) {
	at := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	hex := strconv.FormatInt(at.UnixMilli(), 16)
	hex = strings.Repeat("0", 12-len(hex)) + hex
	got := beginnings(hex[:8] + "-" + hex[8:] + "-7a2c")
	if len(got) != 2 || got[0].From.After(at) || got[0].To.Before(at) || got[0].To.Sub(got[0].From) > 10*time.Second {
		t.Errorf("windows of an id of %s: %+v", at, got)
	}
	for _, id := range []string{"0", "0197f3c2", "zzzzzzzz-zzzz", "b90f2fe9-621d-4290", "äöüäöüäö-äöüä"} {
		if got := beginnings(id); len(got) != 1 || got[0] != (manage.LogsQuery{}) {
			t.Errorf("beginnings(%s) = %+v, want the last deliveries", id, got)
		}
	}
}

// fakeLogs answers for deliveries, the newest first.
type fakeLogs struct{ all []manage.Log }

func (f *fakeLogs) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/v1/buckets" {
		_, _ = w.Write([]byte(`[{"id":"b1","name":"deploys"}]`))
		return
	}
	q := r.URL.Query()
	limit, _ := strconv.Atoi(q.Get("limit"))
	from, _ := strconv.Atoi(q.Get("cursor"))
	to := min(from+limit, len(f.all))
	page := manage.Logs{Data: f.all[from:to]}
	if to < len(f.all) {
		page.NextCursor = strconv.Itoa(to)
	}
	_ = json.NewEncoder(w).Encode(page)
}

func (f *fakeLogs) add(ids ...string) {
	for _, id := range ids {
		f.all = slices.Insert(f.all, 0, manage.Log{ID: id, BucketID: "b1", Method: "POST", Status: account.StatusReceived})
	}
}

func TestFollowPrintsEachDeliveryOnceAndWhatChanges(t *testing.T) {
	logs := &fakeLogs{}
	srv := httptest.NewServer(logs)
	defer srv.Close()
	client, err := manage.New(manage.Options{URL: srv.URL, Key: "k", Secret: "s", Client: srv.Client()})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	f := &follower{client: client, o: &relayLogsOptions{limit: 2}, out: screen{Writer: &out}, say: t.Errorf, names: map[string]string{}}
	look := func(want ...string) {
		t.Helper()
		out.Reset()
		if err := f.look(t.Context()); err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(out.String()) {
			words := strings.Fields(line)
			got = append(got, words[len(words)-1])
		}
		if !slices.Equal(got, want) {
			t.Errorf("printed %q, want %q", got, want)
		}
	}
	logs.add("a", "b", "c")
	look("b", "c")
	look()
	logs.add("d", "e")
	logs.all[2].Status = account.StatusSent
	look("c", "d", "e")
	many := []string{}
	for i := range 250 {
		many = append(many, "m"+strconv.Itoa(i))
	}
	logs.add(many...)
	look(many...)
	logs.all = slices.Delete(logs.all, 0, 245) // older ones are among the newest again
	look()
}
