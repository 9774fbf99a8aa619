package account

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"
)

// Time is a time on the wire: Unix seconds as a number. The zero Time is
// -62135596800, as the clients' own zero time is.
type Time struct{ time.Time }

// At is t as clients see it: to the second, UTC.
func At(t time.Time) Time { return Time{t.UTC().Truncate(time.Second)} }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) { return strconv.AppendInt(nil, t.Unix(), 10), nil }

// UnmarshalJSON reads Unix seconds, or RFC 3339 as newer clients write it. null
// is the zero Time.
func (t *Time) UnmarshalJSON(data []byte) error {
	if len(data) > 0 && data[0] == '"' {
		var u time.Time
		if err := json.Unmarshal(data, &u); err != nil {
			return fmt.Errorf("time %s: want Unix seconds or RFC 3339", data)
		}
		*t = At(u)
		return nil
	}
	var n int64
	if err := json.Unmarshal(data, &n); err != nil {
		return fmt.Errorf("time %s: want Unix seconds or RFC 3339", data)
	}
	*t = Time{}
	if string(data) != "null" && n != zeroTime {
		*t = Time{time.Unix(n, 0).UTC()}
	}
	return nil
}

// zeroTime is the zero time.Time in Unix seconds.
const zeroTime = -62135596800
