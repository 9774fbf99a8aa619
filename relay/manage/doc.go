// Package manage is a client of a relay's management API, for the command line:
// of one of our own (package api), and as far as that goes of Webhook Relay's.
//
// It sends key and secret over TLS, or to this machine, unless it is told
// otherwise, follows no redirect with them, and reads no more of an answer than
// it has room for. Where something fails the error is an *Error, which says what
// the relay said and what most likely mends it. Nothing is tried again.
package manage
