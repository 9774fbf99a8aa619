package verify

import "time"

// A stampForm is how a timestamp in a header may be written.
type stampForm int

const (
	stampSeconds stampForm = iota // digits only: the bytes are signed, and no two spellings may mean one time
	stampLoose                    // also milliseconds, and RFC 3339
	stampFixed                    // seconds or milliseconds, of a fixed length
)

// Lengths of a timestamp, from the year 2001 to 2286.
const (
	secondsLength = 10
	millisLength  = 13
)

func (f stampForm) String() string {
	switch f {
	case stampLoose:
		return "a time in seconds (10 digits), in milliseconds (13) or of RFC 3339"
	case stampFixed:
		return "a time in seconds (10 digits) or in milliseconds (13)"
	}
	return "a time in seconds"
}

func (f stampForm) parse(text string) (time.Time, bool) {
	n, ok := digits(text)
	switch {
	case ok && f == stampSeconds && len(text) <= secondsLength+1, ok && len(text) == secondsLength:
		return time.Unix(n, 0), true
	case ok && f != stampSeconds && len(text) == millisLength:
		return time.UnixMilli(n), true
	case f == stampLoose && len(text) < maxField:
		t, err := time.Parse(time.RFC3339, text)
		return t, err == nil
	}
	return time.Time{}, false
}

// digits reads a number of at most 15 digits without a sign.
func digits(text string) (n int64, ok bool) {
	if len(text) == 0 || len(text) > 15 {
		return 0, false
	}
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
