package store

// migrations bring a database from one format to the next: number n, from 0, is
// run on format n and makes it format n+1. What was released never changes.
func migrations() []string {
	return []string{`
CREATE TABLE deliveries (
	seq        INTEGER PRIMARY KEY AUTOINCREMENT, -- order of arrival; no number is left out
	id         TEXT NOT NULL UNIQUE,
	bucket_id  TEXT NOT NULL,
	internal   INTEGER NOT NULL,
	received   INTEGER NOT NULL, -- this and all times: nanoseconds since 1970, 0 for none
	status     TEXT NOT NULL,    -- that it was accepted with
	updated    INTEGER NOT NULL,
	webhook_id TEXT NOT NULL,
	input_id   TEXT NOT NULL,
	output_id  TEXT NOT NULL,
	method     TEXT NOT NULL,
	path       TEXT NOT NULL,
	query      TEXT NOT NULL,
	ip         TEXT NOT NULL,
	resent     TEXT NOT NULL,
	header     BLOB NOT NULL,    -- as header.go writes it
	body       BLOB NOT NULL     -- last: a long one fills pages of its own
);
-- All that is asked for in order is found here: a row with its body is read only
-- where it is wanted.
CREATE INDEX deliveries_bucket ON deliveries(bucket_id, internal, seq, received, status);

-- What became of a delivery, where something did, and of those that the relay
-- itself is to send.
CREATE TABLE fates (
	seq         INTEGER PRIMARY KEY REFERENCES deliveries(seq) ON DELETE CASCADE,
	status      TEXT NOT NULL,
	updated     INTEGER NOT NULL,
	status_code INTEGER NOT NULL,
	retries     INTEGER NOT NULL,
	duration    INTEGER NOT NULL, -- nanoseconds
	next        INTEGER NOT NULL,
	header      BLOB NOT NULL,    -- of the answer
	answer      BLOB NOT NULL     -- last, as above
);
CREATE INDEX fates_due ON fates(next) WHERE next != 0 AND status = 'preparing';

-- What was pulled, and up to where all that a question is about was: a shortcut.
CREATE TABLE pulled (
	seq INTEGER PRIMARY KEY REFERENCES deliveries(seq) ON DELETE CASCADE
);
CREATE TABLE pulls (
	bucket_id TEXT NOT NULL,
	internal  INTEGER NOT NULL,
	output_id TEXT NOT NULL,    -- '': any
	since     INTEGER NOT NULL, -- all that were received then or later
	upto      INTEGER NOT NULL, -- and have a seq of at most this were pulled
	PRIMARY KEY (bucket_id, internal, output_id)
);

-- What each bucket has, as sizes.go counts it.
CREATE TABLE sizes (
	bucket_id TEXT PRIMARY KEY,
	bytes     INTEGER NOT NULL
);

CREATE TABLE consumers (
	bucket_id TEXT NOT NULL,
	name      TEXT NOT NULL,
	grouped   INTEGER NOT NULL,
	acked     INTEGER NOT NULL,
	above     BLOB NOT NULL,    -- uvarints: the first less acked, each other less the one before
	seen      INTEGER NOT NULL,
	PRIMARY KEY (bucket_id, name)
);

CREATE TABLE gaps (
	consumer  TEXT NOT NULL,
	bucket_id TEXT NOT NULL,
	reason    TEXT NOT NULL,
	missed    INTEGER NOT NULL,
	oldest    INTEGER NOT NULL,
	newest    INTEGER NOT NULL,
	PRIMARY KEY (consumer, bucket_id, reason)
);

CREATE TABLE account (
	one  INTEGER PRIMARY KEY CHECK (one = 1),
	data BLOB NOT NULL
);

CREATE TABLE meta (
	key   TEXT PRIMARY KEY,
	value INTEGER NOT NULL
);
INSERT INTO meta(key, value) VALUES
	('deleted', 0), -- deliveries, ever
	('counted', 0); -- up to this seq all are in sizes
`}
}
