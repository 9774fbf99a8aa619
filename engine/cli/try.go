package cli

import "context"

const tryManual = `hookrun try -rules FILE -bucket BUCKET [flags]

Says what the rules make of an event that is made up on the spot: which would
match and what they would run, and why the others would not. hookrun explain has
the same answer for events of the past. Nothing is run and nothing is kept; no
hookrun, no secret and no signature is needed.

The body is a TEXT or a file; one that is JSON is sent as application/json,
another as a form, unless -H names the Content-Type. With -file the event is that
of a raw HTTP request or of JSON, with what the other flags say over it.

Examples:
  hookrun try -rules rules.yaml -bucket deploys -H 'X-GitHub-Event: push' -body '{"ref":"refs/heads/main"}'
  hookrun try -rules rules.yaml -bucket deploys -body @push.json -rule "deploy main"
  hookrun try -rules rules.yaml -bucket alerts -method GET -query level=high
  hookrun try -rules rules.yaml -bucket deploys -file testdata/events/github-push.http

Exit codes: 0 it was answered, also where no rule matches, 1 it could not, 2
wrong usage.`

func tryCommand() command {
	return command{name: "try", summary: "say what the rules would make of an event that is made up", manual: tryManual, run: runTry}
}

func runTry(ctx context.Context, p Process, c command, args []string) error {
	var q question
	fs := flags(c)
	q.add(fs)
	fs.StringVar(&q.made.method, "method", "", "the HTTP `METHOD` (default POST)")
	fs.StringVar(&q.made.path, "path", "", "the `PATH` behind the bucket (default /)")
	fs.StringVar(&q.made.query, "query", "", "the `QUERY`, without ?")
	fs.Var(&q.made.headers, "H", "a header, as `'Name: value'`; may be repeated")
	fs.StringVar(&q.made.body, "body", "", "the body as `TEXT`, or @FILE; @- is standard input")
	if err := parse(p, c, fs, args, 0); err != nil {
		return err
	}
	if err := needRules(fs, q.rules); err != nil {
		return err
	}
	return questionError(c, q.explainMade(ctx, p))
}
