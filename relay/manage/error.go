package manage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
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

// What mends an address with the wrong scheme.
const (
	hintTLS   = "that port speaks TLS: begin the relay's address with https://"
	hintPlain = "there is no TLS at that port: is it http://?"
)

// mend is what mends a connection that there is not.
func (c *Client) mend(err error) string {
	_, isName := errors.AsType[*net.DNSError](err)
	_, isPlain := errors.AsType[tls.RecordHeaderError](err)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return "is the relay running, and is that its port?"
	case isName:
		return "compare the name in the relay's address"
	case isPlain, errors.Is(err, http.ErrSchemeMismatch):
		return hintPlain
	case !c.secure() && answersTLS(err):
		return hintTLS
	case errors.Is(err, context.DeadlineExceeded):
		return "is the relay running, and can it be reached from here?"
	}
	return mendCertificate(err)
}

// answersTLS reports whether an error looks like that of a server which waits for
// TLS: it hangs up, or sends what is no HTTP. net/http has no error for that.
func answersTLS(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || strings.Contains(err.Error(), "malformed HTTP response")
}

// mendCertificate is what mends a certificate that does not count; "" where it is
// something else.
func mendCertificate(err error) string {
	_, isName := errors.AsType[x509.HostnameError](err)
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	_, isCert := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case isName:
		return "the relay's certificate is for another name: use the one that it is for in the relay's address"
	case isInvalid && invalid.Reason == x509.Expired:
		return "the relay's certificate is not valid now: is it to be renewed, and does this machine's clock go right?"
	case isCert:
		return "this machine does not trust who signed the relay's certificate: SSL_CERT_FILE=ca.pem names a file with that one's certificate"
	}
	return ""
}
