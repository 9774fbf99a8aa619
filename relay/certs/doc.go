// Package certs has the TLS certificates that a relay shows: those of files that
// something else renews, and those that it asks for and renews itself (ACME,
// RFC 8555), with the challenges http-01 (RFC 8555, 8.3) and tls-alpn-01
// (RFC 8737).
//
//	Files ─► Reloader ─┐                       ┌─ Run: looks each minute, loads what changed
//	                   ├─► Config: *tls.Config ┤
//	ACME ──► Renewer ──┘                       └─ Run: asks for what is missing or has a third of its life left
//	             └─► Handler: http-01, on port 80
//
// It promises that a certificate is replaced whole or not at all, that a
// connection that is open is not touched, and that a new certificate that can't
// be used leaves the one before in place, and is told in the log. Nothing runs
// outside of Run, and no handshake waits for anything.
//
// Of the libraries that speak ACME, golang.org/x/crypto/acme is used, the client
// below autocert: autocert itself and certmagic start goroutines that nobody can
// wait for, autocert tells nobody of a renewal that failed and lets a stranger's
// handshake begin an order, and certmagic brings a dozen modules with it.
//
// HTTP/2 is never offered, as WebSockets go over the same listener. Hand Config to
// tls.NewListener: http.Server.ServeTLS would add HTTP/2 to it.
package certs

import "crypto/tls"

// config is what both kinds of certificates are shown with.
func config(get func(*tls.ClientHelloInfo) (*tls.Certificate, error), protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     append([]string{"http/1.1"}, protocols...),
		GetCertificate: get,
	}
}
