package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"sync"
	"time"

	"hookrun/engine"
	"hookrun/engine/control"
	"hookrun/engine/rules"
	"hookrun/engine/store"
)

// openControl takes commands at the control socket until stop is called. Where it
// can't be made hookrun runs without.
func (r *running) openControl(ctx context.Context) (stop func()) {
	ln, err := control.Listen(r.options.data)
	if err != nil {
		r.log.Warn("hookrun runs, pause and resume can't reach this hookrun: there is no control socket", "err", err)
		return func() {}
	}
	server := control.NewServer(r.desk, r.log)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(ctx, ln); err != nil {
			r.log.Error("control socket has failed", "err", err)
		}
	})
	return func() {
		cancel()
		wg.Wait()
	}
}

// newDesk is where people ask this hookrun, by way of the socket or of pages.
func (r *running) newDesk() *control.Local {
	listen := ""
	if r.socket != nil {
		listen = r.socket.Addr().String()
	}
	admin := ""
	if r.dashboard != nil {
		admin = r.dashboard.url()
	}
	return &control.Local{
		Store: r.store, Hands: r.engine, Live: r.engine, Since: time.Now(), Relay: r.relay.Line,
		Names: func() []string { return ruleNames(r.engine.Rules()) }, Ruleset: r.engine.Rules,
		Archive: archived{r.loader.archive, r.gate.changesOf}, Feed: r.feed, Gate: r.gate,
		Health: func() control.Health { return control.Health(r.health()) },
		About: control.About{
			Version: version(), Listen: listen, Admin: admin,
			KeepAge: time.Duration(r.options.keepAge), KeepSize: int64(r.options.keepSize),
		},
	}
}

// healthEvery is how often hookrun's health is looked at for those who watch.
const healthEvery = 2 * time.Second

// tellHealth tells those who watch of changes of hookrun's health, until ctx ends.
func (r *running) tellHealth(ctx context.Context) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	last := r.desk.Health()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if now := r.desk.Health(); now != last {
			last = now
			r.feed.Publish(control.Notice{Health: &now})
		}
	}
}

// ruleNames are those of all rules, also those that are switched off.
func ruleNames(set *engine.RuleSet) []string {
	var names []string
	for _, r := range slices.Concat(set.Rules, set.Off) {
		names = append(names, r.Name)
	}
	return names
}

// deskFlags are those of every command that asks about runs.
type deskFlags struct{ data string }

func (f *deskFlags) add(fs *flag.FlagSet) {
	fs.StringVar(&f.data, "data", defaultData(), "the data `FOLDER` of the hookrun to ask")
}

// words are those that make a command ask the same hookrun.
func (f *deskFlags) words() string {
	if f.data == defaultData() {
		return ""
	}
	return " -data " + f.data
}

// read has fn ask the hookrun that runs, or the store where none does.
func (f *deskFlags) read(ctx context.Context, p Process, c command, fn func(control.Desk) error) error {
	client, err := control.Dial(ctx, f.data)
	if errors.Is(err, control.ErrNoDaemon) {
		err = f.readStore(ctx, p, fn)
	} else if err == nil {
		err = fn(client)
	}
	return deskError(c, err)
}

func (f *deskFlags) readStore(ctx context.Context, p Process, fn func(control.Desk) error) error {
	reader, err := store.OpenReader(ctx, f.data)
	if err != nil {
		return f.noStore(err)
	}
	fmt.Fprintf(p.Stderr, "hookrun: no hookrun answers on %s: this is what its store holds\n", f.data)
	local := &control.Local{Store: reader, Names: f.lastRules, Archive: archived{archive: openArchive(f.data)}, About: control.About{Version: version()}}
	return errors.Join(fn(local), reader.Close())
}

// ask has fn ask the hookrun that runs, for what no other can answer.
func (f *deskFlags) ask(ctx context.Context, c command, fn func(control.Desk) error) error {
	client, err := control.Dial(ctx, f.data)
	if errors.Is(err, control.ErrNoDaemon) {
		return f.noneRuns(c)
	}
	if err == nil {
		err = fn(client)
	}
	return deskError(c, err)
}

func (f *deskFlags) noneRuns(c command) error {
	return withHint(fmt.Errorf("%s: no hookrun runs on %s", c.name, f.data), "start one, as with hookrun -rules rules.yaml -data %s, or name its folder with -data", f.data)
}

func (f *deskFlags) noStore(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return withHint(fmt.Errorf("%s holds no store of a hookrun", f.data), "-data names the folder that hookrun runs with")
	}
	return err
}

// change is read for what changes something: where no hookrun runs the store is
// opened as one would, so that none can start meanwhile.
func (f *deskFlags) change(ctx context.Context, p Process, c command, fn func(control.Desk) error) error {
	client, err := control.Dial(ctx, f.data)
	if errors.Is(err, control.ErrNoDaemon) {
		err = f.changeStore(ctx, p, fn)
	} else if err == nil {
		err = fn(client)
	}
	return deskError(c, err)
}

// changeTimeout bounds a change of the store: from a minute on it would delete
// what is old, by limits that are not those of the hookrun that uses it.
const changeTimeout = 30 * time.Second

func (f *deskFlags) changeStore(ctx context.Context, p Process, fn func(control.Desk) error) error {
	reader, err := store.OpenReader(ctx, f.data) // Open would make a new one
	if err != nil {
		return f.noStore(err)
	}
	if err := reader.Close(); err != nil {
		return err
	}
	s, err := store.Open(ctx, store.Options{Dir: f.data})
	if err != nil {
		return withHint(err, "where a hookrun runs that does not answer, its log says why there is no control socket")
	}
	ctx, cancel := context.WithTimeout(ctx, changeTimeout)
	defer cancel()
	serving, stop := context.WithCancel(context.WithoutCancel(ctx))
	var wg sync.WaitGroup
	var served error
	wg.Go(func() { served = s.Serve(serving) })
	err = fn(&control.Local{Store: s, Hands: control.Stopped{Store: s}, Names: f.lastRules, Archive: archived{archive: openArchive(f.data)}, About: control.About{Version: version()}})
	stop()
	wg.Wait()
	if err = errors.Join(err, served); err == nil {
		fmt.Fprintf(p.Stderr, "hookrun: no hookrun runs on %s: this takes effect at its next start\n", f.data)
	}
	return err
}

// lastRules are the names of the rules that were in force last; none where they
// can't be told.
func (f *deskFlags) lastRules() []string {
	names, _ := rules.Names(lastFiles(openArchive(f.data)))
	return names
}

// deskError is what a command says of an error.
func deskError(c command, err error) error {
	if err == nil {
		return nil
	}
	if said, ok := errors.AsType[*control.Error](err); ok {
		msg, hint := c.name+": "+printable(said.Msg), printable(said.Hint)
		if said.Status == http.StatusBadRequest {
			return &usageError{msg, hint}
		}
		return withHint(errors.New(msg), "%s", hint)
	}
	if errors.Is(err, fs.ErrPermission) {
		return withHint(fmt.Errorf("%s: %w", c.name, err), "only the user that hookrun runs as, and root, may ask it")
	}
	return fmt.Errorf("%s: %w", c.name, err)
}

// parseWords is parse for a command whose words may stand before its flags, too.
func parseWords(p Process, c command, fs *flag.FlagSet, args []string, most int) (words []string, err error) {
	for {
		if err := parse(p, c, fs, args, len(args)); err != nil {
			return nil, err
		}
		if fs.NArg() == 0 {
			return words, nil
		}
		words = append(words, fs.Arg(0))
		if len(words) > most {
			return nil, &usageError{fmt.Sprintf("%s: unexpected argument %q", c.name, fs.Arg(0)), "hookrun " + c.name + " -h prints the manual"}
		}
		args = fs.Args()[1:]
	}
}

// parseID is parseWords for a command that takes the id of a run.
func parseID(p Process, c command, fs *flag.FlagSet, args []string) (id string, err error) {
	return parseOne(p, c, fs, args, "the id of a run", "hookrun runs lists them")
}

// parseEventID is parseWords for a command that takes the id of an event.
func parseEventID(p Process, c command, fs *flag.FlagSet, args []string) (id string, err error) {
	return parseOne(p, c, fs, args, "the id of an event", "hookrun events lists them")
}

// parseOne is parseWords for a command that takes one word.
func parseOne(p Process, c command, fs *flag.FlagSet, args []string, what, hint string) (word string, err error) {
	words, err := parseWords(p, c, fs, args, 1)
	if err != nil {
		return "", err
	}
	if len(words) == 0 {
		return "", &usageError{fmt.Sprintf("%s: %s is missing", c.name, what), hint}
	}
	return words[0], nil
}
