//go:build unix

package rules

import (
	"errors"
	"os"
)

// syncDir makes a rename in the folder last through a crash.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
