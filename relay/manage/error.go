package manage

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"syscall"
)

// Error says why something was not done.
type Error struct {
	Status  int    // of the relay's answer; 0: there was none
	Message string // a line for people
	Hint    string // what most likely mends it; may be ""
	Request string // id of the request, which the relay's log has too; may be ""

	err error // what caused it; may be nil
}

// Error implements error.
func (e *Error) Error() string { return e.Message }

// Unwrap returns what caused the error, such as that of the network.
func (e *Error) Unwrap() error { return e.err }

// hintFor is what mends an answer with a status.
func hintFor(status int) string {
	switch status {
	case http.StatusUnauthorized:
		return "compare key and secret with those that the relay has; the token may be inactive too"
	case http.StatusForbidden:
		return "this token may not do that: it has no API access, or is bound to some buckets"
	case http.StatusNotFound:
		return "compare name or id with what the list shows; of buckets that a token is not for, it sees nothing"
	case http.StatusPreconditionFailed:
		return "delete what depends on it first, or use force"
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return "wait some seconds, then try again"
	case http.StatusInternalServerError:
		return "the relay's log says why"
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return "a proxy answered in the relay's place: is the relay running?"
	case http.StatusNotImplemented:
		return "this relay does not have that"
	}
	if status >= 300 && status < 400 {
		return "that address leads elsewhere, and key and secret are not sent on: use the one that it leads to"
	}
	return ""
}

// mend is what mends a connection that there is not.
func mend(err error) string {
	_, isName := errors.AsType[*net.DNSError](err)
	_, isCert := errors.AsType[*tls.CertificateVerificationError](err)
	_, isPlain := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "is the relay running, and is that its port?"
	case isName:
		return "compare the name in the relay's address"
	case isCert:
		return "the relay's certificate is not one for this name, or not one that this machine trusts"
	case isPlain:
		return "there is no TLS at that port: is it http://?"
	case errors.Is(err, context.DeadlineExceeded):
		return "is the relay running, and can it be reached from here?"
	}
	return ""
}
