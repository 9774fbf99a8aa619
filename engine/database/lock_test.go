package database

import (
	"path/filepath"
	"testing"
	"time"
)

// TestOpenWaitsForTheLockOfTheDead: a child that was just being started holds
// the lock of a killed hookrun for a moment longer.
func TestOpenWaitsForTheLockOfTheDead(t *testing.T) {
	dir := t.TempDir()
	held, err := lockFolder(t.Context(), dir, filepath.Join(dir, "lock"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	freed := time.AfterFunc(5*lockAgain, func() { held.Close() })
	defer freed.Stop()
	again, err := lockFolder(t.Context(), dir, filepath.Join(dir, "lock"), time.Now())
	if err != nil {
		t.Fatalf("lock that is freed after %s: %v", 5*lockAgain, err)
	}
	again.Close()
}
