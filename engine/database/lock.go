package database

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

var errLocked = errors.New("locked by another process")

// The system lets go of the lock when the process ends, in whatever way; but a
// child that it was about to start when it was killed holds on to it until its
// exec, some milliseconds later.
const (
	lockPatience = time.Second
	lockAgain    = 20 * time.Millisecond
)

// lockFolder takes the lock file for this process and writes there who holds
// it.
func lockFolder(ctx context.Context, dir, path string, now time.Time) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open lock: %w", err)
	}
	err = waitLock(ctx, f)
	switch {
	case errors.Is(err, errLocked):
		err = fmt.Errorf("data folder %s is in use by another hookrun%s", dir, holder(f))
	case err != nil:
		err = fmt.Errorf("lock %s: %w", path, err)
	default:
		err = sign(f, now)
	}
	if err != nil {
		f.Close() // err matters more
		return nil, err
	}
	return f, nil
}

// waitLock tries for lockPatience.
func waitLock(ctx context.Context, f *os.File) error {
	patience := time.NewTimer(lockPatience)
	defer patience.Stop()
	again := time.NewTicker(lockAgain)
	defer again.Stop()
	for {
		err := tryLock(f)
		if !errors.Is(err, errLocked) {
			return err
		}
		select {
		case <-again.C:
		case <-patience.C:
			return err
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func sign(f *os.File, now time.Time) error {
	if err := f.Truncate(0); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	if _, err := fmt.Fprintf(f, "pid %d, since %s\n", os.Getpid(), now.UTC().Format(time.RFC3339)); err != nil {
		return fmt.Errorf("write lock: %w", err)
	}
	return nil
}

// holder returns what the holder of the lock wrote, to be put into a sentence,
// or "" where it has not come to that yet.
func holder(f *os.File) string {
	const maxLine = 100
	line, err := io.ReadAll(io.LimitReader(f, maxLine))
	who := strings.TrimSpace(string(line))
	if err != nil || who == "" {
		return ""
	}
	return ": " + who
}
