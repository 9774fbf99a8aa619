package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"time"

	"hookrun/relay/server"
)

const sendManual = `hookrun send -bucket BUCKET [-body TEXT|@FILE] [flags]

Posts a test webhook to a running hookrun and prints what it started: the
event's id, then a line for each run.

A body that is JSON is sent as application/json, another as a form, unless a
-header names the Content-Type. -body @- reads standard input. A file that holds
a whole HTTP request, as a sender wrote it, is sent as that: its method, query,
headers and body.

With -sign or -rules it is signed as a sender would: -sign github -secret SECRET,
or -rules FILE for what the rules say of the bucket.

A hookrun with a relay takes it only where it was started with -listen.

Examples:
  hookrun send -bucket deploys -body '{"ref":"refs/heads/main"}'
  hookrun send -bucket deploys -header 'X-GitHub-Event: push' -body @push.json
  hookrun send -bucket deploys -body @testdata/events/github-push.http
  hookrun send -bucket alerts -method GET -query 'level=high'
  hookrun send -bucket deploys -sign github -secret '${env:HOOK_SECRET}' -body @push.json
  hookrun send -bucket deploys -rules rules.yaml -body @push.json

Exit codes: 0 it was accepted, 1 it was not, 2 wrong usage.`

// Bounds of send.
const (
	sendTimeout   = 60 * time.Second
	maxSendAnswer = 1 << 20
)

// webhook is what send sends.
type webhook struct {
	bucket, to, method, query, body string
	headers                         list
	sign                            signFlags
}

func sendCommand() command {
	return command{name: "send", summary: "post a test webhook to a running hookrun", manual: sendManual, run: runSend}
}

func runSend(ctx context.Context, p Process, c command, args []string) error {
	var w webhook
	fs := flags(c)
	fs.StringVar(&w.bucket, "bucket", "", "the `bucket` to send to")
	fs.StringVar(&w.to, "to", "http://"+defaultListen, "the `URL` of the running hookrun")
	fs.StringVar(&w.method, "method", "", "the HTTP `method` (default POST)")
	fs.Var(&w.headers, "header", "a header, as `'Key: value'`; may be repeated")
	fs.StringVar(&w.query, "query", "", "the `query`, without ?")
	fs.StringVar(&w.body, "body", "", "the body as `TEXT`, or @FILE")
	w.sign.add(fs, "sign")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	if w.bucket == "" {
		return &usageError{"send: -bucket is missing", "hookrun send -bucket deploys -body '{}'"}
	}
	req, err := w.request(ctx, p.Stdin)
	if err != nil {
		return err
	}
	if w.sign.bucket = w.bucket; w.sign.asked() {
		if req, err = w.sign.signed(req); err != nil {
			return prefixed("send", err)
		}
	}
	return post(req, p)
}

// request makes the HTTP request.
func (w *webhook) request(ctx context.Context, stdin io.Reader) (*http.Request, error) {
	content, err := w.content(stdin)
	if err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	from, body, err := asSent(content)
	if err != nil {
		return nil, fmt.Errorf("send: %s holds an HTTP request that can't be read: %w", w.body, err)
	}
	if strings.Contains(w.to, "/hooks/") || strings.Contains(w.to, "/v1/webhooks/") {
		return nil, &usageError{fmt.Sprintf("send: -to %s names a bucket already", w.to), "-to takes the address alone, such as http://" + defaultListen}
	}
	target := strings.TrimSuffix(w.to, "/") + "/hooks/" + url.PathEscape(w.bucket)
	if query := cmp.Or(w.query, from.URL.RawQuery); query != "" {
		target += "?" + query
	}
	method := strings.ToUpper(cmp.Or(w.method, from.Method))
	req, err := http.NewRequestWithContext(ctx, method, target, bytes.NewReader(body))
	if err != nil {
		return nil, &usageError{"send: " + err.Error(), "-to takes a URL such as http://" + defaultListen}
	}
	req.Header = from.Header
	for _, h := range w.headers {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return nil, &usageError{fmt.Sprintf("send: -header %q has no colon", h), "-header 'X-GitHub-Event: push'"}
		}
		req.Header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	return req, nil
}

// requestLine is how a file with a whole HTTP request begins (RFC 9112, 3).
var requestLine = regexp.MustCompile(`^[A-Z]+ \S+ HTTP/1\.[01]\r?\n`)

// asSent returns the request that content is, or a plain one with content as
// its body.
func asSent(content []byte) (*http.Request, []byte, error) {
	if requestLine.Match(content) {
		req, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(content)))
		if err != nil {
			return nil, nil, err
		}
		body, err := io.ReadAll(req.Body)
		return req, body, err
	}
	req := &http.Request{Method: http.MethodPost, URL: &url.URL{}, Header: http.Header{}}
	if len(content) > 0 {
		req.Header.Set("Content-Type", contentType(content))
	}
	return req, content, nil
}

func (w *webhook) content(stdin io.Reader) ([]byte, error) {
	name, isFile := strings.CutPrefix(w.body, "@")
	switch {
	case !isFile:
		return []byte(w.body), nil
	case name == "-":
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

func contentType(body []byte) string {
	if json.Valid(body) {
		return "application/json"
	}
	return "application/x-www-form-urlencoded"
}

// post sends the request and prints what came of it.
func post(req *http.Request, p Process) error {
	client := &http.Client{Timeout: sendTimeout}
	defer client.CloseIdleConnections()
	resp, err := client.Do(req)
	if err != nil {
		return withHint(fmt.Errorf("send: %w", err), "is hookrun running there? with a relay it listens only with -listen; -to names its address")
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxSendAnswer))
	if err != nil {
		return fmt.Errorf("send: read the answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return refused(resp, answer)
	}
	var receipt server.Receipt
	if err := json.Unmarshal(answer, &receipt); err != nil || receipt.Event == "" { // what respond says
		fmt.Fprintf(p.Stdout, "answer %s\n", resp.Status)
		fmt.Fprintln(p.Stdout, strings.TrimRight(printable(string(answer)), "\n"))
		return nil
	}
	fmt.Fprintf(p.Stdout, "event %s\n", receipt.Event)
	if receipt.Duplicate {
		fmt.Fprintln(p.Stdout, "it was taken before: this one starts nothing")
	}
	for _, r := range receipt.Runs {
		fmt.Fprintf(p.Stdout, "run   %s  %s%s\n", r.ID, r.Rule, fate(r))
	}
	if len(receipt.Runs) == 0 {
		fmt.Fprintf(p.Stdout, "no run: no rule matched, or there was nothing to do: hookrun explain -event %s says why\n", printable(short(receipt.Event)))
	}
	return nil
}

// fate says of a run that does not simply start what became of it.
func fate(r server.Started) string {
	switch {
	case r.State == "" || r.State == "queued":
		return ""
	case r.By != "":
		return fmt.Sprintf("  %s by run %s", r.State, r.By)
	}
	return "  " + r.State
}

// refused is the error of an answer that is not 2xx: hookrun's own tells what is
// wrong and the mend.
func refused(resp *http.Response, answer []byte) error {
	var said struct{ Error, Hint string }
	if err := json.Unmarshal(answer, &said); err != nil || said.Error == "" {
		return fmt.Errorf("send: %s: %s", resp.Status, strings.TrimSpace(printable(string(answer))))
	}
	if resp.StatusCode == http.StatusUnauthorized {
		said.Hint = "hookrun rejected says why, on the machine that it runs on"
	}
	return withHint(fmt.Errorf("send: %s: %s", resp.Status, printable(said.Error)), "%s", printable(said.Hint))
}
