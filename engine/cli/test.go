package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"hookrun/engine/rules"
	"hookrun/engine/ruletest"
)

const testManual = `hookrun test -rules FILE [flags] [TESTS…]

Runs tests of the rules and prints what is not as they say, as go test does. A
test is data: an event, the rules that match it, what they would run. Nothing is
run, no network and no secret is needed. TESTS are files or folders; without any
it is the *.tests.yaml beside the rules, which are no rules to hookrun.

  # rules.tests.yaml
  tests:
    - name: a push to main is deployed
      event: github/push            # a sample, listed below
      bucket: deploys
      match: [deploy main]          # these rules and no others; [] is none
      actions:
        deploy main:                # all actions, in their order …
          - exec: [make, deploy, {match: "REF=[0-9a-f]{40}"}]
            env: {BRANCH: refs/heads/main}
          - http: https://chat.example/hook
            method: POST
            json: {text: deployed v1}
      steps: {deploy main: {build: {exit_code: 0, stdout: v1}}}
    - name: a push to dev is not
      event: {from: github/push, bucket: deploys, merge: {ref: refs/heads/dev}}
      match: []

event     a sample; a file that ends with .http (a raw HTTP request) or .json,
          from the folder of the tests; or a mapping: bucket, method, path,
          query, headers, body (a text, or a value that is sent as JSON),
          base64, from (a sample or file that the rest is said over), merge
          (changes the JSON body: null takes a field away), id, source, remote,
          input, bucket_id, meta
bucket    where the event came to; else the event says it, or its path
          /hooks/BUCKET
now       when it came: what now() and event.received are; 2026-01-02T03:04:05Z
match     the rules that match; no_match: rules that do not, where others may
errors    {RULE: TEXT}: rules whose condition fails, and how
actions   {RULE: ACTIONS}: a list of all, a mapping by id of some, or for rules
          with for_each a list of such lists, one for each run. An action is
          exec, shell, file or http; with dir, env, stdin; write, content, json;
          method, headers, body, json; what is not said is not compared. skip:
          true: its if is false; error: TEXT: it can't be made
steps     {RULE: {ID: RESULT}}: what actions came to, for those behind them:
          exit_code, stdout, stderr, outputs, status, headers, body, json, path,
          size, state (done, failed, skipped), error, duration
unverified  rules that did not know the sender: all others do, for signatures
          are not checked

A text is compared as a whole. {match: REGEXP} has to match all of it, {sha256:
HEX} has its hash. A secret of the rules is *** wherever it would stand; where a
test needs another form of it, env: at the top of the file has values for
${env:NAME}. The environment and the files of secrets are not read.

Examples:
  hookrun test -rules rules.yaml
  hookrun test -rules rules.yaml -run 'push to' -v
  hookrun test -rules rules.yaml -junit report.xml -coverage -coverage-min 90
  hookrun record -event 0197f3c2 > rules.tests.yaml

Samples: %s

Exit codes: 0 all passed, 1 a test failed or the files have a problem, 2 wrong
usage.`

func testCommand() command {
	manual := strings.Replace(testManual, "%s", wrapped(ruletest.Samples(), len("Samples: ")), 1)
	return command{name: "test", summary: "run tests of the rules", manual: manual, run: runTest}
}

// wrapped lists names in lines of the width of a manual, of which the first has
// begun already.
func wrapped(names []string, at int) string {
	const width = 79
	var b strings.Builder
	for i, n := range names {
		if i > 0 {
			b.WriteByte(',')
			at++
			if at+len(n) > width-2 {
				b.WriteByte('\n')
				at = 0
			} else {
				b.WriteByte(' ')
				at++
			}
		}
		b.WriteString(n)
		at += len(n)
	}
	return b.String()
}

// testOptions are the flags of test.
type testOptions struct {
	rules    list
	pattern  string
	verbose  bool
	junit    string
	coverage bool
	least    int

	run *regexp.Regexp
	dir string // the working directory
}

func (o *testOptions) add(fs *flag.FlagSet) {
	fs.Var(&o.rules, "rules", "rules `FILE`, or folder of *.yaml; may be repeated")
	fs.StringVar(&o.pattern, "run", "", "only the tests with a name that `REGEXP` finds something in")
	fs.BoolVar(&o.verbose, "v", false, "list the tests that pass, too")
	fs.StringVar(&o.junit, "junit", "", "write a report as JUnit XML to this `FILE`")
	fs.BoolVar(&o.coverage, "coverage", false, "list the parts of conditions that no test made true, or false, and rules without a match")
	fs.IntVar(&o.least, "coverage-min", 0, "fail where less than `N` percent of that is reached")
}

func runTest(_ context.Context, p Process, c command, args []string) error {
	var o testOptions
	fs := flags(c)
	o.add(fs)
	paths, err := parseWords(p, c, fs, args, len(args))
	if err != nil {
		return err
	}
	if err := needRules(fs, o.rules); err != nil {
		return err
	}
	if o.run, err = regexp.Compile(o.pattern); err != nil {
		return &usageError{"test: -run: " + err.Error(), "-run 'push to main'"}
	}
	if o.least < 0 || o.least > 100 {
		return &usageError{fmt.Sprintf("test: -coverage-min %d is no percentage", o.least), "-coverage-min 90"}
	}
	if o.dir, err = os.Getwd(); err != nil {
		return fmt.Errorf("test: %w", err)
	}
	files, err := o.files(paths)
	if err != nil {
		return err
	}
	return o.test(p, files)
}

// files are the files of tests that paths name, or those beside the rules.
func (o *testOptions) files(paths []string) ([]string, error) {
	given := len(paths) > 0
	if !given {
		for _, path := range o.rules {
			if info, err := os.Stat(path); err != nil || !info.IsDir() {
				path = filepath.Dir(path)
			}
			paths = append(paths, path)
		}
	}
	var files []string
	for _, path := range paths {
		more, err := rules.FilesOf(path, rules.IsTestsName)
		if err != nil {
			return nil, fmt.Errorf("test: %w", err)
		}
		if given && len(more) == 0 {
			return nil, withHint(fmt.Errorf("test: the folder %s holds no *.tests.yaml", path), "%s", firstTest)
		}
		for _, file := range more {
			if !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	if len(files) == 0 {
		return nil, withHint(fmt.Errorf("test: there is no *.tests.yaml beside %s", o.rules.String()), "%s", firstTest)
	}
	return files, nil
}

// firstTest is how to come by a test.
const firstTest = "hookrun record -event ID > rules.tests.yaml makes a test of an event of the past; hookrun test -h shows what else one may be"

// test reads all files before it runs the first.
func (o *testOptions) test(p Process, paths []string) error {
	t := &testRun{o: o, p: p, loaded: map[string]*rules.Generation{}}
	for _, path := range paths {
		if !t.read(path) {
			t.broken = true
		}
	}
	if t.broken {
		return exitError(exitFailed)
	}
	for i := range t.files {
		t.run(&t.files[i])
	}
	return t.end()
}

// testRun is one call of test.
type testRun struct {
	o        *testOptions
	p        Process
	files    []tested
	loaded   map[string]*rules.Generation // by what ${env:} stands for
	coverage *ruletest.Coverage           // nil: nobody asks for it
	reports  []*ruletest.Report
	broken   bool // a file has problems
}

// tested is a file of tests and the rules that it tests.
type tested struct {
	file  *ruletest.File
	rules *rules.Generation
}

// read reads a file of tests and the rules as it wants them, and prints what is
// wrong with either.
func (t *testRun) read(path string) bool {
	f, problems := ruletest.Read(path)
	if f == nil {
		printProblems(t.p, problems)
		return false
	}
	g, ok := t.load(f.Env)
	if !ok {
		return false
	}
	if problems := f.Check(g.Rules); len(problems) > 0 {
		printProblems(t.p, problems)
		return false
	}
	t.files = append(t.files, tested{f, g})
	return true
}

// load reads the rules with an environment; once for each. Their problems are
// printed once.
func (t *testRun) load(env map[string]string) (*rules.Generation, bool) {
	var key strings.Builder
	for _, name := range slices.Sorted(maps.Keys(env)) {
		key.WriteString(strconv.Quote(name) + strconv.Quote(env[name]))
	}
	if g, ok := t.loaded[key.String()]; ok {
		return g, g != nil
	}
	g, problems := rules.Load(t.o.rules, rules.Options{
		Dry: true, Getenv: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	})
	t.loaded[key.String()] = g
	if g == nil {
		printProblems(t.p, slices.DeleteFunc(problems, func(p rules.Problem) bool { return p.Warning }))
		return nil, false
	}
	if t.coverage == nil && (t.o.coverage || t.o.least > 0) {
		t.coverage = ruletest.NewCoverage(g)
	}
	return g, true
}

// run runs the tests of a file and prints what became of them.
func (t *testRun) run(f *tested) {
	r := f.file.Run(ruletest.Options{Rules: f.rules.Rules, Dir: t.o.dir, Run: t.o.run, Coverage: t.coverage})
	t.reports = append(t.reports, r)
	for i := range r.Results {
		t.result(&r.Results[i])
	}
	if len(r.Results) == 0 { // -run finds none here
		return
	}
	if failed := r.Failed(); failed > 0 {
		fmt.Fprintf(t.p.Stdout, "FAIL  %s  %d of %s failed\n", printable(r.File), failed, count(len(r.Results), "test"))
		return
	}
	fmt.Fprintf(t.p.Stdout, "ok    %s  %s\n", printable(r.File), count(len(r.Results), "test"))
}

func (t *testRun) result(r *ruletest.Result) {
	if len(r.Failures) == 0 {
		if t.o.verbose {
			fmt.Fprintf(t.p.Stdout, "--- PASS: %s\n", printable(r.Name))
		}
		return
	}
	fmt.Fprintf(t.p.Stdout, "--- FAIL: %s (%s)\n", printable(r.Name), printable(r.Place))
	for line := range strings.SplitSeq(strings.TrimSuffix(readable(r.Text()), "\n"), "\n") {
		fmt.Fprintf(t.p.Stdout, "    %s\n", line)
	}
}

// end writes what is asked for of all tests together.
func (t *testRun) end() error {
	ran, failed := 0, 0
	for _, r := range t.reports {
		ran += len(r.Results)
		failed += r.Failed()
	}
	if ran == 0 {
		return withHint(fmt.Errorf("test: no test has a name in which -run %q finds something", t.o.pattern), "hookrun test -v lists the names")
	}
	if err := t.writeJUnit(); err != nil {
		return fmt.Errorf("test: %w", err)
	}
	short := t.told()
	if failed > 0 || short {
		return exitError(exitFailed)
	}
	return nil
}

// told prints the coverage, and reports whether it is less than it has to be.
func (t *testRun) told() (short bool) {
	if t.coverage == nil {
		return false
	}
	if t.o.coverage {
		for _, g := range t.coverage.Gaps() {
			what := fmt.Sprintf("rule %q", g.Rule)
			if g.Text != "" {
				what = clip(strings.Join(strings.Fields(g.Text), " "), maxLineShow)
			}
			fmt.Fprintf(t.p.Stdout, "%s: %s: %s\n", printable(g.Place), g.Msg, printable(what))
		}
	}
	percent := t.coverage.Percent()
	fmt.Fprintf(t.p.Stdout, "coverage: %d%% of conditions\n", percent)
	if short = percent < t.o.least; short {
		printError(t.p, fmt.Sprintf("test: the coverage is %d%%, less than -coverage-min %d", percent, t.o.least), "-coverage lists what no test reached")
	}
	return short
}

func (t *testRun) writeJUnit() error {
	if t.o.junit == "" {
		return nil
	}
	f, err := os.Create(t.o.junit)
	if err != nil {
		return err
	}
	return errors.Join(ruletest.WriteJUnit(f, t.reports), f.Close())
}
