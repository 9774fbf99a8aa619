package cli

import (
	"cmp"
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"sync"

	"hookrun/engine/rules"
	"hookrun/relay/certs"
)

// secure is how a relay has TLS.
type secure struct {
	files    *certs.Reloader // one of
	acme     *certs.Renewer  // these two
	listenOn string          // for the authority's questions over HTTP; "": nowhere
	log      *slog.Logger
}

// newSecure returns what the file asks for; nil where it asks for plain HTTP.
func newSecure(t *rules.RelayTLS, o relayOptions, log *slog.Logger) (*secure, error) {
	var err error
	s := &secure{log: log}
	switch {
	case t == nil:
		return nil, nil
	case t.ACME == nil:
		if s.files, err = certs.Files(t.Cert, t.Key, log); err != nil {
			return nil, err
		}
	default:
		s.listenOn = o.acmeListen
		s.acme, err = certs.ACME(certs.Options{
			Domains: t.ACME.Domains, Cache: cmp.Or(t.ACME.Cache, filepath.Join(o.data, "acme")), AcceptTerms: true,
			Email: t.ACME.Email, Directory: t.ACME.Directory, Log: log,
		})
		if err != nil {
			return nil, err
		}
	}
	return s, nil
}

func sameTLS(a, b *rules.RelayTLS) bool { return reflect.DeepEqual(a, b) }

// listener has TLS on what comes from ln.
func (s *secure) listener(ln net.Listener) net.Listener {
	if s.files != nil {
		return tls.NewListener(ln, s.files.Config())
	}
	return tls.NewListener(ln, s.acme.Config())
}

// missing reports whether there is a name without a certificate.
func (s *secure) missing() bool { return s.acme != nil && len(s.acme.Missing()) > 0 }

// run keeps the certificate up to date until ctx ends.
func (s *secure) run(ctx context.Context) {
	if s == nil {
		return
	}
	if s.files != nil {
		_ = s.files.Run(ctx)
		return
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	if s.listenOn != "" {
		wg.Go(func() { s.answerAuthority(ctx) })
	}
	if err := s.acme.Run(ctx); err != nil {
		s.log.Error("there will be no new certificates", "err", err)
	}
}

// answerAuthority serves the authority's questions over HTTP. Without it, those
// over TLS do, where the relay is on port 443.
func (s *secure) answerAuthority(ctx context.Context) {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", s.listenOn)
	if err != nil {
		s.log.Warn("the certificate authority can't ask over HTTP, only over TLS on port 443", "err", err)
		return
	}
	srv := &http.Server{
		Handler: s.acme.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "this relay is reached by https://", http.StatusNotFound)
		})),
		ReadTimeout: challengeTimeout, WriteTimeout: challengeTimeout, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	stop := context.AfterFunc(ctx, func() { srv.Close() })
	defer stop()
	_ = srv.Serve(ln) // ends with Close
}
