package rules

import (
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"gopkg.in/yaml.v3"

	"hookrun/actions"
	"hookrun/engine"
	"hookrun/engine/verify"
)

// maxRules bounds the rules of one generation, enabled or not.
const maxRules = 10_000

// Options are what rules need of the place they run at.
type Options struct {
	// Getenv gives what ${env:NAME} stands for. nil: os.LookupEnv.
	Getenv func(name string) (string, bool)

	// Dir is the daemon's own folder: the root of `file` where the rules name
	// none, and where relative paths start. "": the working directory.
	Dir string

	// Client makes the calls of http actions. nil: a plain one.
	Client *http.Client

	// Exposed says that the intake takes webhooks from other machines: commands
	// that anybody could start are a problem then, not only worth a warning.
	Exposed bool

	// Former are secrets that senders may still use, for the operator's sake: those
	// of the rules before.
	Former []verify.Known

	// Guard are files and folders that no `file` action may write to: the rules
	// themselves, the data folder. The files that are read, and those of secrets,
	// are guarded anyway.
	Guard []string

	// LookPath finds commands, to warn of those that are not there.
	// nil: exec.LookPath.
	LookPath func(file string) (string, error)

	// Dry says that the rules are only to be asked, maybe on another machine than
	// the one they are for: a secret that Getenv does not give stands for a text of
	// its own, no sender is verified, and the folders of file_roots and the users of
	// run_as need not be there.
	Dry bool
}

func (o Options) withDefaults() Options {
	if o.Getenv == nil {
		o.Getenv = os.LookupEnv
	}
	if o.Dir == "" {
		o.Dir = "."
	}
	o.Dir = absolute(o.Dir)
	if o.Client == nil {
		o.Client = &http.Client{}
	}
	if o.LookPath == nil {
		o.LookPath = exec.LookPath
	}
	return o
}

// Generation is all that the rules files said at one time.
type Generation struct {
	Rules    *engine.RuleSet // the enabled ones
	Hash     string          // of all paths and contents of Files
	Files    []File
	Relay    Relay
	OnReload OnReload
	Admin    Admin
	Secrets  []engine.Secret // every secret that was put in somewhere, to mask it in outputs
	Verified []verify.Known  // the secrets of verify
	RunsAs   bool            // a command runs as another user than hookrun, by run_as

	SecretFiles []string // whose content is one of the secrets

	said       map[string]string            // of each bucket what is said of it, secrets included, hashed
	conditions func() map[conditionOf]place // where each stands

	Warnings []Problem
}

// Load reads the files and folders of paths as one generation: of a folder the
// *.yaml and *.yml files in it, sorted, without hidden ones and without its
// folders. The problems are in the order of their places. Where one of them is
// more than a warning there is no generation.
func Load(paths []string, o Options) (*Generation, []Problem) {
	files, unread := read(paths)
	unread = append(unread, modeProblems(files, false)...)
	return load(files, unread, o)
}

// Parse is Load of files that were read already.
func Parse(files []File, o Options) (*Generation, []Problem) { return load(files, nil, o) }

// load makes a generation of files. problems are known already.
func load(files []File, problems []Problem, o Options) (*Generation, []Problem) {
	l := &loader{kind: rulesKind(), o: o.withDefaults(), senders: &senders{former: o.Former}, problems: problems, places: map[string]string{}, found: map[string]found{}, scripts: map[string]string{}}
	l.guard = append(l.guard, l.o.Guard...)
	for _, f := range files {
		l.guard = append(l.guard, absolute(f.Path))
		l.open(f)
	}
	l.settings()
	l.buckets()
	l.rules()
	relay := l.relay()
	onReload := l.onReload()
	admin := l.admin()
	l.references()
	l.unreachable()
	l.untrusted()
	l.allowOfRelay(relay)

	problems = tidy(l.problems, files)
	if failed(problems) {
		return nil, problems
	}
	l.guardFiles()
	l.written(files)
	set := engine.NewRuleSet(l.enabled, l.hashSet())
	set.Off = l.off
	set.Buckets, set.Proxies = l.bucketSet, l.proxies
	set.MaxRuns, set.QueueLimit = l.maxRuns, l.queueLimit
	set.Secrets = append(slices.Clone(l.secrets), relay.Secret)
	return &Generation{
		Rules:       set,
		Hash:        hashFiles(files),
		Files:       files,
		Relay:       relay,
		OnReload:    onReload,
		Admin:       admin,
		Secrets:     l.secrets,
		SecretFiles: l.secretFiles,
		RunsAs:      l.runsAs(),
		said:        l.said,
		Verified:    l.senders.known,
		Warnings:    problems,
		conditions:  sync.OnceValue(func() map[conditionOf]place { return conditionsOf(files) }),
	}, problems
}

// guardFiles tells each `file` action what it may not write to, now that all
// that the rules read is known.
func (l *loader) guardFiles() {
	for _, r := range l.enabled {
		for _, s := range allSteps(r) {
			if f, ok := s.Action.(*actions.File); ok {
				f.Guard = l.guard
			}
		}
	}
}

// loader makes one generation.
type loader struct {
	kind     fileKind // of the files that it reads
	o        Options
	problems []Problem
	tops     []top

	timeout time.Duration // defaults of every rule
	retry   engine.Retry
	roots   []string
	guard   []string // what no `file` may write to

	rootsGiven bool // by file_roots

	allowed      []actions.Allowed // by http_allow
	allowedTexts []string          // as they stand there

	maxRuns, queueLimit int // 0: not given

	bucketSet map[string]*engine.Bucket
	said      map[string]string // as of a Generation
	trustAll  map[string]bool   // of these: verify: none
	proxies   []netip.Prefix
	senders   *senders

	read    int               // rules read, enabled or not
	places  map[string]string // of all rules, by name
	enabled []*engine.Rule
	off     []*engine.Rule // read, but not enabled
	nodes   map[*engine.Rule]place
	refs    []reference // to rules by name
	secrets []engine.Secret

	secretFiles []string // read for a secret, or tried to

	found   map[string]found  // what LookPath said, by command
	scripts map[string]string // what is wrong with the interpreter, by file; "" where nothing is
}

// top is the top level of one file.
type top struct {
	d    *decoder
	keys object
}

// place is where a rule stands.
type place struct {
	d    *decoder
	node *yaml.Node
}

// open takes a file apart as far as its top level.
func (l *loader) open(f File) {
	src, problem := newSource(f)
	if problem != nil {
		l.problems = append(l.problems, *problem)
		return
	}
	root, problem := src.parse(l.kind)
	if problem != nil {
		l.problems = append(l.problems, *problem)
		return
	}
	d := &decoder{l: l, src: src}
	if root = d.resolve(root); root == nil {
		return
	}
	if root.Kind != yaml.MappingNode {
		hint := l.kind.first
		if root.Kind == yaml.SequenceNode {
			hint = l.kind.list
		}
		d.fail(root, hint, "the file must be a mapping with %s: in it, not %s", l.kind.main, describe(root))
		return
	}
	known := l.kind.keys
	for i := 0; i < len(root.Content); i += 2 {
		if key := root.Content[i].Value; strings.HasPrefix(key, "x-") { // a place for anchors
			known = append(known, key)
		}
	}
	l.tops = append(l.tops, top{d, d.object(root, "the file", known...)})
}

// fileKind says what may stand in a file, and what to tell who wrote something
// else.
type fileKind struct {
	keys   []string // at its top
	main   string   // the one of them that it is there for
	first  string   // hint for a file with nothing in it,
	list   string   // for one that is a list,
	second string   // and for a second document

	meant func(key string, known []string) string // hint for a key that is none of the known, "" for none
}

func rulesKind() fileKind {
	return fileKind{
		keys: topKeys(), main: "rules", first: firstRule, list: "put the list below a line with rules:",
		second: "put all rules below one rules:, or into several files", meant: meantHere,
	}
}

// topKeys are the keys at the top of a file.
func topKeys() []string { return keys[fileShape]() }

// only returns the file that holds a key of which a generation has one.
func (l *loader) only(key string) (top, *yaml.Node) {
	var found top
	var value *yaml.Node
	for _, t := range l.tops {
		n := t.keys.values[key]
		if n == nil {
			continue
		}
		if value != nil {
			t.d.fail(n, "one file says it for all", "%s is set in %s:%d already", key, found.d.src.path, value.Line)
			continue
		}
		found, value = t, n
	}
	return found, value
}

// settings reads what every rule starts from.
func (l *loader) settings() {
	if t, n := l.only("defaults"); n != nil {
		o := t.d.object(n, "defaults", keys[defaultsShape]()...)
		l.timeout = o.duration("timeout", 0)
		l.retry = o.retry(engine.Retry{}, nil)
	}
	l.maxRuns = l.count("max_runs", maxMaxRuns, "leave it out for 4 × CPUs")
	l.queueLimit = l.count("queue_limit", maxQueueLimit, fmt.Sprintf("leave it out for %d", engine.DefaultQueueLimit))
	l.fileRoots()
	l.httpAllow()
}

// Bounds of what the rules may say for the whole of hookrun.
const (
	maxMaxRuns    = 10_000
	maxQueueLimit = 10_000_000
)

// count reads a number that one file says for all, 0 where none does.
func (l *loader) count(key string, most int, hint string) int {
	t, n := l.only(key)
	if n == nil {
		return 0
	}
	return t.keys.number(key, most, hint)
}

// fileRoots reads the folders that files may be written to.
func (l *loader) fileRoots() {
	l.roots = []string{l.o.Dir}
	t, n := l.only("file_roots")
	if n == nil {
		return
	}
	l.roots = nil
	l.rootsGiven = true
	for _, item := range t.keys.list("file_roots", false) {
		if root, ok := t.d.root(item); ok {
			l.roots = append(l.roots, root)
		}
	}
}

// root reads a folder that files may be written to.
func (d *decoder) root(n *yaml.Node) (string, bool) {
	const what = "a folder of file_roots"
	if !d.scalar(n, what) || !d.name(n, what) || !d.plain(n, what) {
		return "", false
	}
	path := d.l.path(n.Value)
	if d.l.o.Dry {
		return filepath.Clean(path), true
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		d.fail(n, "make the folder first", "file_roots: %s: %s", path, cause(err))
	case !info.IsDir():
		d.fail(n, "", "file_roots: %s is not a folder", path)
	default:
		return filepath.Clean(path), true
	}
	return "", false
}

// path is a path of the rules as an absolute one.
func (l *loader) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(l.o.Dir, p)
}

// rules reads the rules of all files.
func (l *loader) rules() {
	l.nodes = map[*engine.Rule]place{}
	good := true
	for _, t := range l.tops {
		n := t.keys.values["rules"]
		if n == nil {
			continue
		}
		if n.Kind == yaml.MappingNode {
			t.d.fail(n, `begin each rule with "- name: …"`, "rules must be a list, not a mapping")
			good = false
			continue
		}
		for _, item := range t.keys.list("rules", false) {
			if l.read++; l.read > maxRules {
				t.d.fail(item, "", "more than %d rules", maxRules)
				return
			}
			l.rule(t.d, item)
		}
	}
	if l.read == 0 && good && !failed(l.problems) && len(l.tops) > 0 {
		first := l.tops[0]
		first.d.fail(first.keys.node, firstRule, "there are no rules")
	}
}

// unreachable warns of rules that another one keeps every event from.
func (l *loader) unreachable() {
	const most = 100 // stopping rules looked at: the work is their number times that of all rules
	var stops []*engine.Rule
	for _, r := range l.enabled {
		for _, s := range stops {
			if within(r.Buckets, s.Buckets) && within(r.Methods, s.Methods) {
				p := l.nodes[r]
				p.d.rule = r.Name
				p.d.warn(p.node, "", "never reached: rule %q takes every such event and says stop", s.Name)
				break
			}
		}
		if r.Stop && !r.Shadow && (r.When == nil || strings.TrimSpace(r.When.String()) == "true") && len(stops) < most {
			stops = append(stops, r)
		}
	}
}

// within reports whether all that some stands for is in all; an empty list
// stands for everything.
func within(some, all []string) bool {
	if len(all) == 0 {
		return true
	}
	in := map[string]bool{}
	for _, v := range all {
		in[v] = true
	}
	for _, v := range some {
		if !in[v] {
			return false
		}
	}
	return len(some) > 0
}

// at is a place as file:line.
func (d *decoder) at(n *yaml.Node) string { return fmt.Sprintf("%s:%d", d.src.path, n.Line) }
