package database

import (
	"errors"
	"fmt"
)

// migrate brings the database to the newest format, in one transaction.
func migrate(c *Conn, migrations []string) error {
	have, err := format(c, migrations)
	if err != nil {
		return err
	}
	if have == len(migrations) {
		return nil
	}
	if err := c.Exec(`BEGIN IMMEDIATE`); err != nil {
		return fmt.Errorf("begin migration: %w", err)
	}
	for n := have; n < len(migrations); n++ {
		if err := c.db.Exec(migrations[n]); err != nil {
			return errors.Join(fmt.Errorf("migrate from format %d: %w", n, err), c.Exec(`ROLLBACK`))
		}
	}
	if err := c.db.Exec(fmt.Sprintf(`PRAGMA user_version = %d; COMMIT`, len(migrations))); err != nil {
		return fmt.Errorf("finish migration to format %d: %w", len(migrations), err)
	}
	return nil
}

// format returns the number of the database's format; 0 is an empty one.
func format(c *Conn, migrations []string) (int, error) {
	n, err := c.Number(`PRAGMA user_version`)
	if err != nil {
		return 0, fmt.Errorf("read format: %w", err)
	}
	if n > int64(len(migrations)) {
		return 0, fmt.Errorf("made by a newer hookrun: its format is %d, this one knows up to %d", n, len(migrations))
	}
	return int(n), nil
}
