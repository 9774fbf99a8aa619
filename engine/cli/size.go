package cli

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// byteSize is a flag such as 512MiB or 1GiB.
type byteSize int64

func sizeUnits() []struct {
	name  string
	bytes int64
} {
	return []struct {
		name  string
		bytes int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1}}
}

// String implements flag.Value.
func (s *byteSize) String() string {
	for _, u := range sizeUnits()[:3] {
		if n := int64(*s); n >= u.bytes && n%u.bytes == 0 {
			return fmt.Sprintf("%d%s", n/u.bytes, u.name)
		}
	}
	return strconv.FormatInt(int64(*s), 10)
}

// Set implements flag.Value.
func (s *byteSize) Set(v string) error {
	number, unit := v, int64(1)
	for _, u := range sizeUnits() {
		if n, ok := strings.CutSuffix(v, u.name); ok {
			number, unit = n, u.bytes
			break
		}
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n <= 0 || n > 1<<62/unit || n*unit < 1<<20 { // 5 is no size that anybody means
		return fmt.Errorf("want a size such as 512MiB or 10GiB")
	}
	*s = byteSize(n * unit)
	return nil
}

// span is a flag such as 30s, 12h or 30d.
type span time.Duration

// String implements flag.Value.
func (s *span) String() string {
	d := time.Duration(*s)
	if day := 24 * time.Hour; d >= day && d%day == 0 {
		return fmt.Sprintf("%dd", d/day)
	}
	return d.String()
}

// Set implements flag.Value.
func (s *span) Set(v string) error {
	d, err := time.ParseDuration(v)
	if days, ok := strings.CutSuffix(v, "d"); ok {
		var n int
		n, err = strconv.Atoi(days)
		d = time.Duration(n) * 24 * time.Hour
	}
	if err != nil || d < 0 || d > 100*365*24*time.Hour {
		return fmt.Errorf("want a time such as 30s, 12h or 30d")
	}
	*s = span(d)
	return nil
}
