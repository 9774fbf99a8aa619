package cli

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"hookrun/engine"
)

// TestRealPayloads asks of each event of testdata/events what people ask of
// such a payload.
func TestRealPayloads(t *testing.T) {
	tests := []struct{ file, when string }{
		{"github-push", `headers["X-GitHub-Event"] == "push" && body.ref == "refs/heads/main" && !(body.deleted ?? false) && len(changed(body)) > 0`},
		{"github-push-form", `headers["x-github-event"] == "push" && body.ref == "refs/heads/main" && body.repository.full_name == "acme/widget"`},
		{"github-push-delete", `body.deleted && body.after startsWith "0000" && body.head_commit == nil`},
		{"github-push-tag", `body.ref startsWith "refs/tags/" && body.created`},
		{"github-pull-request", `body.action == "opened" && body.pull_request.head.ref != nil && body.number > 0`},
		{"github-pull-request-synchronize", `body.action == "synchronize" && body.after == body.pull_request.head.sha && body.number == 42`},
		{"github-pull-request-closed", `body.action == "closed" && !body.pull_request.merged && body.number == 42`},
		{"github-pull-request-fork", `body.pull_request.head.repo.full_name != body.repository.full_name && body.number == 43`},
		{"github-ping", `headers["X-GitHub-Event"] == "ping" && body.zen != nil && body.ref == nil`},
		{"gitlab-push", `body.object_kind == "push" && body.ref == "refs/heads/main" && any(body.commits, .author.email != nil)`},
		{"gitlab-pipeline", `body.object_kind == "pipeline" && body.object_attributes.status == "success" && body.object_attributes.ref == "main" && body.user.name == "John Smith"`},
		{"gitea-push", `body.ref == "refs/heads/main" && headers["X-Gitea-Event"] == "push"`},
		{"bitbucket-push", `any(body.push.changes, (.new.name ?? "") == "main")`},
		{"dockerhub", `body.repository.repo_name != nil && body.push_data.tag != nil`},
		{"registry", `len(filter(body.events, .action == "push" && .target.tag != nil)) == 1`},
		{"alertmanager", `body.version == "4" && body.status == "firing" && any(body.alerts, .labels.severity == "critical")`},
		{"alertmanager-resolved", `body.status == "resolved" && all(body.alerts, .status == "resolved")`},
		{"alertmanager-storm", `len(body.alerts) == 6 && body.truncatedAlerts == 12`},
		{"grafana", `body.status == "firing" && len(body.alerts) > 0`},
		{"grafana-nodata", `body.status == "firing" && all(body.alerts, .values == nil && .labels.alertname == "DatasourceNoData")`},
		{"stripe", `body.type == "checkout.session.completed" && body.data.object.id != nil`},
		{"slack-slash", `body.command == "/deploy" && body.user_id != nil && body.response_url startsWith "https://"`},
		{"slack-mention", `body.type == "event_callback" && body.event.type == "app_mention" && body.event_id != nil`},
		{"slack-url-verification", `body.type == "url_verification" && body.challenge != nil`},
		{"standard-webhooks", `headers["webhook-id"] startsWith "msg_" && body.type == "invoice.paid" && body.data.id != nil`},
		{"sentry", `headers["Sentry-Hook-Resource"] == "event_alert" && body.data != nil`},
		{"jira-transition", `body.webhookEvent == "jira:issue_updated" && any(body.changelog.items, .field == "status" && .toString == "In Progress")`},
		{"jira-comment", `body.webhookEvent == "comment_created" && body.changelog == nil`},
		{"plex", `body.event == "media.play" && body.Account.title == "elan" && len(files) == 1 && files[0].name == "thumb.jpg"`},
		{"synology", `method == "GET" && query.token != "" && query.text contains "degraded"`},
		{"sendgrid", `len(body) == 3 && body[2].event == "bounce"`},
		{"travis", `body.type == "push" && body.state == "passed" && body.branch == "main"`},
		{"generic", `method == "POST" && body != nil`},
	}
	files, err := filepath.Glob(filepath.Join(root, "testdata", "events", "*.http"))
	if err != nil || len(files) != len(tests) {
		t.Errorf("testdata/events holds %d events (%v), the table asks of %d", len(files), err, len(tests))
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			cond, findings := engine.NewCompiler(engine.World{}).Condition(tt.when)
			if cond == nil {
				t.Fatal(findings)
			}
			ok, missing, err := cond.Eval(engine.NewScope(readEvent(t, tt.file)))
			if !ok || err != nil {
				t.Errorf("%s = %v, missing %v, %v, want true", tt.when, ok, missing, err)
			}
		})
	}
}

// readEvent makes an event of a raw HTTP request.
func readEvent(t *testing.T, name string) *engine.Event {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(root, "testdata", "events", name+".http"))
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(req.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &engine.Event{Source: engine.SourceIntake, Bucket: "b", Method: req.Method, Path: "/", Query: req.URL.RawQuery, Header: req.Header, Body: body}
}
