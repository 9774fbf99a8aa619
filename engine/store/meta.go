package store

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/ncruces/go-sqlite3"

	"hookrun/engine/database"
)

// Keys of the table meta.
const (
	metaInstance = "instance" // 16 random hex digits, made with the table
	metaPaused   = "paused"   // JSON: the rules, sorted
	metaArmed    = "armed"    // the same
)

// Instance returns the name of this store: 16 hex digits that no other has.
func (s reads) Instance(ctx context.Context) (string, error) {
	name, err := s.meta(ctx, metaInstance)
	if err == nil && name == "" {
		err = fmt.Errorf("it has none")
	}
	if err != nil {
		return "", fmt.Errorf("read name of the store: %w", err)
	}
	return name, nil
}

// SetPaused implements engine.Store.
func (s *Store) SetPaused(ctx context.Context, rules []string) error {
	return s.setRules(ctx, metaPaused, rules)
}

// Paused implements engine.Store.
func (s reads) Paused(ctx context.Context) ([]string, error) { return s.rules(ctx, metaPaused) }

// SetArmed implements engine.Store.
func (s *Store) SetArmed(ctx context.Context, rules []string) error {
	return s.setRules(ctx, metaArmed, rules)
}

// Armed implements engine.Store.
func (s reads) Armed(ctx context.Context) ([]string, error) { return s.rules(ctx, metaArmed) }

// setRules notes names of rules.
func (s *Store) setRules(ctx context.Context, key string, rules []string) error {
	value, err := json.Marshal(slices.Compact(slices.Sorted(slices.Values(rules))))
	if err == nil {
		err = s.write(ctx, database.Write{Size: len(value), Do: func(c *database.Conn) error {
			return c.Exec(`INSERT OR REPLACE INTO meta(key, value) VALUES(?, ?)`, key, string(value))
		}})
	}
	if err != nil {
		return fmt.Errorf("note %s rules: %w", key, err)
	}
	return nil
}

func (s reads) rules(ctx context.Context, key string) ([]string, error) {
	value, err := s.meta(ctx, key)
	var rules []string
	if err == nil && value != "" {
		err = json.Unmarshal([]byte(value), &rules)
	}
	if err != nil {
		return nil, fmt.Errorf("read %s rules: %w", key, err)
	}
	return rules, nil
}

// meta returns a value of the table, "" where it is not there.
func (s reads) meta(ctx context.Context, key string) (value string, err error) {
	err = s.lend(ctx, func(c *database.Conn) error {
		return c.Query(func(r *sqlite3.Stmt) error {
			value = r.ColumnText(0)
			return nil
		}, `SELECT value FROM meta WHERE key = ?`, key)
	})
	return value, err
}
