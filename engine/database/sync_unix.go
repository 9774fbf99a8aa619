//go:build unix

package database

import (
	"errors"
	"os"
)

// syncDir makes the names in a folder last through a loss of power.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
