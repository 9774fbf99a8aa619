package store

import (
	"context"
	"fmt"

	"hookrun/engine/database"
)

// RenameConsumer gives the positions and gaps of a consumer another name, which
// has none.
func (s *Store) RenameConsumer(ctx context.Context, from, to string) error {
	err := s.write(ctx, database.Write{Do: func(c *database.Conn) error {
		if err := c.Exec(`UPDATE OR REPLACE consumers SET name = ?2 WHERE name = ?1`, from, to); err != nil {
			return err
		}
		return c.Exec(`UPDATE OR REPLACE gaps SET consumer = ?2 WHERE consumer = ?1`, from, to)
	}})
	if err != nil {
		return fmt.Errorf("rename consumer %s: %w", from, err)
	}
	return nil
}
