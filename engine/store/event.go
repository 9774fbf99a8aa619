package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine"
	"hookrun/engine/database"
)

// longBody is the number of bytes from which on a body is written and read
// piecewise: SQLite never gives back the memory that a value took as a whole.
const longBody = 256 << 10

// Accept implements engine.Store.
func (s *Store) Accept(ctx context.Context, a *engine.Acceptance) (engine.Receipt, error) {
	row, err := newEventRow(a)
	if err != nil {
		return engine.Receipt{}, fmt.Errorf("accept event %s: %w", a.Event.ID, err)
	}
	size := a.Event.Size() + row.stepSize()
	for _, r := range a.Runs {
		size += len(r.Element)
	}
	var receipt engine.Receipt
	err = s.write(ctx, database.Write{Intake: true, Size: size, Do: func(c *database.Conn) (err error) {
		receipt, err = row.insert(c)
		return err
	}})
	if err != nil {
		return engine.Receipt{}, fmt.Errorf("accept event %s: %w", a.Event.ID, err)
	}
	if receipt.Duplicate {
		return receipt, nil
	}
	for i, ref := range receipt.Runs {
		a.Runs[i].Seq = ref.Seq
	}
	return receipt, nil
}

// eventRow is an acceptance in the form of the tables, made by the caller's
// goroutine so that the writer's has less to do.
type eventRow struct {
	*engine.Acceptance
	header, meta string
	verdicts     []byte
	steps        []stepRow
}

func newEventRow(a *engine.Acceptance) (*eventRow, error) {
	row := &eventRow{Acceptance: a, header: encodeLists(a.Event.Header)}
	meta := make(map[string][]string, len(a.Event.Meta))
	for k, v := range a.Event.Meta {
		meta[k] = []string{v}
	}
	row.meta = encodeLists(meta)
	var err error
	if row.verdicts, err = json.Marshal(a.Verdicts); err != nil {
		return nil, fmt.Errorf("encode verdicts: %w", err)
	}
	for _, st := range a.Steps {
		step, err := newStepRow(st)
		if err != nil {
			return nil, fmt.Errorf("step %s of run %s: %w", st.Step, st.Run, err)
		}
		row.steps = append(row.steps, step)
	}
	return row, nil
}

func (row *eventRow) stepSize() int {
	n := 0
	for _, st := range row.steps {
		n += st.size()
	}
	return n
}

// insert writes the event and its runs, or tells of the event that had the
// delivery before.
func (row *eventRow) insert(c *database.Conn) (engine.Receipt, error) {
	e := row.Event
	var body any = e.Body
	if len(e.Body) >= longBody {
		body = database.Zeros(len(e.Body))
	}
	err := c.Exec(`
		INSERT INTO events(id, received, source, delivery, remote, bucket, bucket_id, input, method, path, query,
			header, meta, body_err, match_err, rules, verdicts, body)
		VALUES(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
		ON CONFLICT(source, delivery) WHERE delivery != '' DO NOTHING`,
		e.ID, e.Received, e.Source, e.Delivery, e.Remote, e.Bucket, e.BucketID, e.Input, e.Method, e.Path, e.Query,
		row.header, row.meta, row.BodyErr, row.MatchErr, row.Rules, string(row.verdicts), body)
	if err != nil {
		return engine.Receipt{}, err
	}
	if c.Changes() == 0 {
		return firstReceipt(c, e.Source, e.Delivery)
	}
	seq := c.LastInsertRowID()
	if len(e.Body) >= longBody {
		if err := c.WriteBlob("events", "body", seq, e.Body); err != nil {
			return engine.Receipt{}, err
		}
	}
	refs, err := row.insertRuns(c, seq)
	if err != nil {
		return engine.Receipt{}, err
	}
	if err := row.insertSteps(c, refs); err != nil {
		return engine.Receipt{}, err
	}
	return engine.Receipt{Event: e.ID, Runs: refs}, row.insertArrival(c, seq)
}

// insertArrival writes what the event is found by. It comes last: what becomes of
// the event is known once its runs are admitted.
func (row *eventRow) insertArrival(c *database.Conn, seq int64) error {
	e := row.Event
	return c.Exec(`
		INSERT INTO arrivals(seq, received, bucket, bucket_id, outcome, high, replay_of, edited)
		VALUES(?1, ?2, ?3, ?4, ?5, max(?2, coalesce((SELECT high FROM arrivals WHERE seq < ?1 ORDER BY seq DESC LIMIT 1), ?2)), ?6, ?7)`,
		seq, e.Received, e.Bucket, e.BucketID, string(row.Outcome()), e.ReplayOf, e.Edited)
}

// insertSteps writes what the runs in shadow would do.
func (row *eventRow) insertSteps(c *database.Conn, refs []engine.Ref) error {
	for _, st := range row.steps {
		i := slices.IndexFunc(refs, func(r engine.Ref) bool { return r.ID == st.Run })
		if i < 0 {
			return fmt.Errorf("step %s: run %s is none of the event's", st.Step, st.Run)
		}
		if err := st.put(c, refs[i].Seq); err != nil {
			return fmt.Errorf("step %s of run %s: %w", st.Step, st.Run, err)
		}
	}
	return nil
}

// insertRuns writes each run as soon as it is admitted, so that the next one's
// Admit finds it.
func (row *eventRow) insertRuns(c *database.Conn, event int64) ([]engine.Ref, error) {
	var refs []engine.Ref
	t := &tx{c: c}
	for _, r := range row.Runs {
		if row.Admit != nil {
			if err := t.ask(func(tx engine.Tx) error { return row.Admit(tx, r) }); err != nil {
				return nil, fmt.Errorf("admit run %s: %w", r.ID, err)
			}
		}
		seq, err := insertRun(c, row.Event.ID, event, r)
		if err != nil {
			return nil, fmt.Errorf("run %s: %w", r.ID, err)
		}
		ref := r.Ref()
		ref.Seq = seq
		refs = append(refs, ref)
	}
	if t.put { // a run may have been changed after it was written
		return refsOf(c, row.Event.ID)
	}
	return refs, nil
}

func refsOf(c *database.Conn, event string) ([]engine.Ref, error) {
	runs, err := runsOf(c, event)
	if err != nil {
		return nil, fmt.Errorf("runs of event %s: %w", event, err)
	}
	var refs []engine.Ref
	for _, r := range runs {
		refs = append(refs, r.Ref())
	}
	return refs, nil
}

// firstReceipt tells of the event that a delivery made when it came first.
func firstReceipt(c *database.Conn, source, delivery string) (engine.Receipt, error) {
	receipt := engine.Receipt{Duplicate: true}
	err := c.Query(func(r *sqlite3.Stmt) error {
		receipt.Event = r.ColumnText(0)
		return nil
	}, `SELECT id FROM events WHERE source = ? AND delivery = ? AND delivery != ''`, source, delivery)
	if err != nil {
		return engine.Receipt{}, fmt.Errorf("first event of delivery %s: %w", delivery, err)
	}
	receipt.Runs, err = refsOf(c, receipt.Event)
	return receipt, err
}

// Event implements engine.Store.
func (s reads) Event(ctx context.Context, id string) (*engine.Event, error) {
	var e *engine.Event
	err := s.lend(ctx, func(c *database.Conn) (err error) {
		e, err = readEvent(c, id)
		return err
	})
	if err == nil && e == nil {
		err = engine.ErrNotFound
	}
	if err != nil {
		return nil, fmt.Errorf("read event %s: %w", id, err)
	}
	return e, nil
}

func readEvent(c *database.Conn, id string) (*engine.Event, error) {
	var e *engine.Event
	var seq, size int64
	err := c.Query(func(r *sqlite3.Stmt) (err error) {
		seq, size = r.ColumnInt64(0), r.ColumnInt64(1)
		e, err = scanEvent(r)
		return err
	}, `SELECT `+eventColumns+` FROM events e JOIN arrivals a USING (seq) WHERE e.id = ?2`, longBody, id)
	if err != nil || e == nil || size < longBody {
		return e, err
	}
	e.Body, err = c.ReadBlob("events", "body", seq)
	return e, err
}

// eventColumns are those that scanEvent reads, of a body shorter than argument 1.
const eventColumns = `seq, length(body), id, e.received, source, delivery, remote, e.bucket, e.bucket_id, input, method, path, query,
	header, meta, iif(length(body) < ?1, body, NULL), replay_of, edited`

func scanEvent(r *sqlite3.Stmt) (*engine.Event, error) {
	e := &engine.Event{
		ID:       r.ColumnText(2),
		Received: database.FromNanos(r.ColumnInt64(3)),
		Source:   r.ColumnText(4),
		Delivery: r.ColumnText(5),
		Remote:   r.ColumnText(6),
		Bucket:   r.ColumnText(7),
		BucketID: r.ColumnText(8),
		Input:    r.ColumnText(9),
		Method:   r.ColumnText(10),
		Path:     r.ColumnText(11),
		Query:    r.ColumnText(12),
		ReplayOf: r.ColumnText(16),
		Edited:   r.ColumnBool(17),
	}
	header, err := decodeLists(r.ColumnRawText(13))
	if err != nil {
		return nil, fmt.Errorf("decode header: %w", err)
	}
	e.Header = header
	meta, err := decodeLists(r.ColumnRawText(14))
	if err != nil {
		return nil, fmt.Errorf("decode meta: %w", err)
	}
	for k, v := range meta {
		if e.Meta == nil {
			e.Meta = make(map[string]string, len(meta))
		}
		e.Meta[k] = v[0]
	}
	e.Body = r.ColumnBlob(15, nil)
	return e, nil
}

// Verdicts implements engine.Store.
func (s reads) Verdicts(ctx context.Context, event string) ([]engine.Verdict, error) {
	var verdicts []engine.Verdict
	err := s.lend(ctx, func(c *database.Conn) error {
		err := engine.ErrNotFound
		qerr := c.Query(func(r *sqlite3.Stmt) error {
			err = json.Unmarshal(r.ColumnRawText(0), &verdicts)
			return err
		}, `SELECT verdicts FROM events WHERE id = ?`, event)
		if qerr != nil {
			return qerr
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read verdicts of event %s: %w", event, err)
	}
	return verdicts, nil
}

// encodeLists writes a header as [["Name", "value", …], …], sorted by name. Each
// byte comes back, though JSON knows only Unicode.
func encodeLists(lists map[string][]string) string {
	names := make([]string, 0, len(lists))
	for name := range lists {
		names = append(names, name)
	}
	slices.Sort(names)
	var b strings.Builder
	b.WriteByte('[')
	for i, name := range names {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('[')
		b.Write(encodeText(name))
		for _, v := range lists[name] {
			b.WriteByte(',')
			b.Write(encodeText(v))
		}
		b.WriteByte(']')
	}
	b.WriteByte(']')
	return b.String()
}

// encodeText writes a string as JSON, and one that is not Unicode as
// {"base64": "…"}.
func encodeText(s string) []byte {
	var v any = s
	if !utf8.ValidString(s) {
		v = binaryText{[]byte(s)}
	}
	out, err := json.Marshal(v)
	if err != nil {
		panic(err) // neither kind has an error
	}
	return out
}

type binaryText struct {
	Base64 []byte `json:"base64"`
}

// decodeLists is encodeLists's other way; nil where there is nothing.
func decodeLists(data []byte) (map[string][]string, error) {
	var rows [][]text
	if err := json.Unmarshal(data, &rows); err != nil {
		return nil, err
	}
	if len(rows) == 0 {
		return nil, nil
	}
	lists := make(map[string][]string, len(rows))
	for _, row := range rows {
		if len(row) == 0 {
			return nil, fmt.Errorf("a name is missing")
		}
		values := make([]string, len(row)-1)
		for i, v := range row[1:] {
			values[i] = string(v)
		}
		lists[string(row[0])] = values
	}
	return lists, nil
}

type text string

func (t *text) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '{' {
		var b binaryText
		err := json.Unmarshal(data, &b)
		*t = text(b.Base64)
		return err
	}
	return json.Unmarshal(data, (*string)(t))
}
