package store

// migrations bring a database from one format to the next: number n, from 0, is
// run on format n and makes it format n+1. What was released never changes.
func migrations() []string {
	return []string{
		`
CREATE TABLE events (
	seq       INTEGER PRIMARY KEY AUTOINCREMENT, -- order of arrival
	id        TEXT NOT NULL UNIQUE,
	received  INTEGER NOT NULL, -- this and all times: nanoseconds since 1970, 0 for none
	source    TEXT NOT NULL,
	delivery  TEXT NOT NULL,    -- '' where the source has no name for it
	remote    TEXT NOT NULL,
	bucket    TEXT NOT NULL,
	bucket_id TEXT NOT NULL,
	input     TEXT NOT NULL,
	method    TEXT NOT NULL,
	path      TEXT NOT NULL,
	query     TEXT NOT NULL,
	header    TEXT NOT NULL,    -- JSON: [["Name", "value", …], …]
	meta      TEXT NOT NULL,    -- JSON: the same
	body_err  TEXT NOT NULL,
	match_err TEXT NOT NULL,
	rules     TEXT NOT NULL,    -- hash of the rules that were asked
	verdicts  TEXT NOT NULL,    -- JSON
	body      BLOB NOT NULL     -- last: a long one fills pages of its own
);
CREATE UNIQUE INDEX events_delivery ON events(source, delivery) WHERE delivery != '';

CREATE TABLE runs (
	seq       INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice, not even after a deletion
	id        TEXT NOT NULL UNIQUE,
	event     TEXT NOT NULL REFERENCES events(id) ON DELETE CASCADE,
	rule      TEXT NOT NULL,
	rule_hash TEXT NOT NULL,
	state     TEXT NOT NULL,
	attempt   INTEGER NOT NULL,
	cut       INTEGER NOT NULL,
	due       INTEGER NOT NULL,
	created   INTEGER NOT NULL,
	started   INTEGER NOT NULL,
	finished  INTEGER NOT NULL,
	err       TEXT NOT NULL
);
CREATE INDEX runs_event ON runs(event);
CREATE INDEX runs_unfinished ON runs(seq) WHERE state IN ('queued', 'running');

CREATE TABLE steps (
	run      INTEGER NOT NULL REFERENCES runs(seq) ON DELETE CASCADE,
	attempt  INTEGER NOT NULL,
	idx      INTEGER NOT NULL,
	step     TEXT NOT NULL,
	key      TEXT NOT NULL,
	kind     TEXT NOT NULL,
	state    TEXT NOT NULL,
	started  INTEGER NOT NULL,
	finished INTEGER NOT NULL,
	err      TEXT NOT NULL,
	output   TEXT NOT NULL, -- JSON, but for what follows
	header   TEXT NOT NULL, -- JSON, as of an event
	process  TEXT NOT NULL, -- JSON
	body     BLOB NOT NULL,
	PRIMARY KEY (run, attempt, idx)
);

CREATE TABLE output (
	run     INTEGER NOT NULL REFERENCES runs(seq) ON DELETE CASCADE,
	attempt INTEGER NOT NULL,
	idx     INTEGER NOT NULL,
	stream  TEXT NOT NULL,
	off     INTEGER NOT NULL, -- of data in the stream
	data    BLOB NOT NULL,
	PRIMARY KEY (run, attempt, idx, stream, off)
);
`,

		// Runs under control. What was queued before goes on one at a time: in the
		// lane that a rule has by default.
		`
ALTER TABLE runs ADD COLUMN idx INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN key TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN lane TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN dedupe TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN throttle TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN breaker TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN held INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN "by" TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN stop TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN outcome TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN base INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN fresh INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN waited TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN element TEXT NOT NULL DEFAULT ''; -- last: a long one fills pages of its own
UPDATE runs SET lane = 'rule "' || replace(replace(rule, '\', '\\'), '"', '\"') || '"' WHERE state IN ('queued', 'running');

-- All of these end with seq, as every index does.
DROP INDEX runs_unfinished;
CREATE INDEX runs_state ON runs(state);
CREATE INDEX runs_rule ON runs(rule, state);
CREATE INDEX runs_created ON runs(created);
CREATE INDEX runs_lane ON runs(lane) WHERE lane != '' AND state IN ('queued', 'running');
CREATE INDEX runs_key ON runs(rule, key) WHERE key != '' AND state IN ('queued', 'running');
CREATE INDEX runs_dedupe ON runs(rule, dedupe, state, created) WHERE dedupe != '';
CREATE INDEX runs_throttle ON runs(rule, throttle, state, created) WHERE throttle != '';
CREATE INDEX runs_breaker ON runs(rule, breaker, state, created) WHERE breaker != '';

ALTER TABLE steps ADD COLUMN phase TEXT NOT NULL DEFAULT '';
ALTER TABLE steps ADD COLUMN passed INTEGER NOT NULL DEFAULT 0;

CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value TEXT NOT NULL
);
INSERT INTO meta(key, value) VALUES('instance', lower(hex(randomblob(8))));
`,

		// Requests that were turned away, the newest of them.
		`
CREATE TABLE rejections (
	seq      INTEGER PRIMARY KEY AUTOINCREMENT,
	id       TEXT NOT NULL,
	received INTEGER NOT NULL,
	source   TEXT NOT NULL,
	remote   TEXT NOT NULL,
	bucket   TEXT NOT NULL,
	method   TEXT NOT NULL,
	path     TEXT NOT NULL,
	headers  TEXT NOT NULL,    -- JSON: as of an event, without values
	size     INTEGER NOT NULL,
	reason   TEXT NOT NULL,
	likely   TEXT NOT NULL
);
`,

		// What a list of events is chosen by stands beside them: their rows are long,
		// and were written before there was anything to choose.
		`
CREATE TABLE arrivals (
	seq       INTEGER PRIMARY KEY REFERENCES events(seq) ON DELETE CASCADE,
	received  INTEGER NOT NULL, -- of the event, as are the two below
	bucket    TEXT NOT NULL,
	bucket_id TEXT NOT NULL,
	outcome   TEXT NOT NULL,    -- what became of it when it came
	high      INTEGER NOT NULL, -- the latest received of this event and those before: it rises with seq
	replay_of TEXT NOT NULL,    -- id of an event that may be gone, or ''
	edited    INTEGER NOT NULL
);
ALTER TABLE runs ADD COLUMN armed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN event_seq INTEGER NOT NULL DEFAULT 0; -- of its event
ALTER TABLE steps ADD COLUMN plan TEXT NOT NULL DEFAULT '';       -- JSON, '' where it is not known

-- What the events of old became is told by their runs and verdicts. Only the
-- question of a service can't be told from an event that no rule concerned.
INSERT INTO arrivals(seq, received, bucket, bucket_id, outcome, high, replay_of, edited)
SELECT seq, received, bucket, bucket_id, CASE
	WHEN EXISTS (SELECT 1 FROM runs WHERE event = events.id
		AND NOT (attempt = 0 AND state IN ('duplicate', 'throttled', 'tripped', 'skipped', 'failed'))) THEN 'started'
	WHEN match_err != '' OR instr(verdicts, '"outcome":"error"')
		OR EXISTS (SELECT 1 FROM runs WHERE event = events.id AND state = 'failed') THEN 'error'
	WHEN instr(verdicts, '"outcome":"matched"') THEN 'suppressed'
	ELSE 'unmatched' END, max(received) OVER (ORDER BY seq), '', 0
FROM events ORDER BY seq;
UPDATE runs SET event_seq = coalesce((SELECT seq FROM events WHERE id = runs.event), 0);

-- All of these end with seq, as every index does.
CREATE INDEX arrivals_outcome ON arrivals(outcome, bucket);
CREATE INDEX arrivals_bucket_id ON arrivals(bucket_id, outcome) WHERE bucket_id != '';
CREATE INDEX arrivals_replay ON arrivals(replay_of) WHERE replay_of != '';
CREATE INDEX arrivals_late ON arrivals(seq) WHERE received < high - 60000000000; -- a minute: maxEarly
CREATE INDEX runs_event_seq ON runs(rule, event_seq);
CREATE INDEX runs_armed ON runs(armed) WHERE armed != 0;
`,
	}
}
