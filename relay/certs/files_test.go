package certs

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

const day = 24 * time.Hour

// serial is that of the certificate that is shown now.
func serial(r *Reloader) string {
	c, _ := r.Config().GetCertificate(&tls.ClientHelloInfo{})
	return c.Leaf.SerialNumber.String()
}

func TestReloaderTakesARenewedCertificate(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		cert, key := makeCert(t, "hooks.example.org", now, now.Add(90*day)).put(t, dir)
		var log memory
		r, err := Files(cert, key, logTo(&log))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- r.Run(ctx) }()
		expect := func(when string, want ...string) {
			t.Helper()
			time.Sleep(lookEvery)
			synctest.Wait()
			if got := log.take(); !slices.Equal(got, want) {
				t.Errorf("%s: the log has %q, want %q", when, got, want)
			}
		}
		first := serial(r)
		expect("nothing changed")

		second := makeCert(t, "hooks.example.org", now, now.Add(100*day))
		must(t, os.WriteFile(cert, second.cert, 0o600)) // the key comes later
		expect("half of it", `level=ERROR msg="new TLS certificate is refused, the one before goes on"`)
		expect("still half of it")
		if got := serial(r); got != first {
			t.Errorf("with half of a renewal %s is shown, want %s", got, first)
		}

		must(t, os.WriteFile(key, second.key, 0o600))
		expect("all of it", `level=INFO msg="TLS certificate loaded"`)
		if got := serial(r); got == first {
			t.Errorf("after the renewal %s is shown still", got)
		}

		must(t, os.Remove(key))
		expect("the key is gone", `level=ERROR msg="new TLS certificate is refused, the one before goes on"`)
		must(t, os.WriteFile(key, second.key, 0o600))
		expect("the key is back", `level=INFO msg="TLS certificate loaded"`)
		stop()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v, want nil", err)
		}
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestReloaderWarnsOfTheEnd: once a day, from two weeks before.
func TestReloaderWarnsOfTheEnd(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		cert, key := makeCert(t, "hooks.example.org", now.Add(-day), now.Add(15*day+time.Hour)).put(t, dir)
		var log memory
		r, err := Files(cert, key, logTo(&log))
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		go r.Run(ctx)
		const soonMsg, overMsg = `level=WARN msg="TLS certificate expires soon: renew it"`, `level=ERROR msg="TLS certificate has expired: renew it"`
		for _, tt := range []struct {
			after time.Duration
			want  []string
		}{
			{day, nil},
			{day, []string{soonMsg}},
			{day, []string{soonMsg}},
			{11 * day, slices.Repeat([]string{soonMsg}, 11)},
			{3 * day, []string{soonMsg, overMsg, overMsg}},
		} {
			time.Sleep(tt.after)
			synctest.Wait()
			if got := log.take(); !slices.Equal(got, tt.want) {
				t.Errorf("after %s: %q, want %q", tt.after, got, tt.want)
			}
		}
		stop()
		synctest.Wait()
	})
}

func TestFilesSayWhatIsWrong(t *testing.T) {
	now := time.Now()
	good := makeCert(t, "hooks.example.org", now, now.Add(90*day))
	other := makeCert(t, "hooks.example.org", now, now.Add(90*day))
	locked := pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte("x")})
	old := pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Headers: map[string]string{"Proc-Type": "4,ENCRYPTED"}, Bytes: []byte("x")})
	for _, tt := range []struct {
		name      string
		cert, key []byte // nil: no file
		want      string
	}{
		{"good", good.cert, good.key, ""},
		{"no certificate", nil, good.key, "TLS certificate DIR/hooks.pem: no such file: is the path right, and was a certificate issued?"},
		{"no key", good.cert, nil, "TLS key DIR/hooks.key: no such file: is the path right, and was a certificate issued?"},
		{"exchanged", good.key, good.cert, "TLS certificate DIR/hooks.pem: it holds the key, and DIR/hooks.key the certificate: exchange them"},
		{"DER", []byte{0x30, 0x82}, good.key, "TLS certificate DIR/hooks.pem: there is none in PEM form in it (openssl x509 -inform der -in FILE makes PEM of DER)"},
		{"no key in it", good.cert, good.cert, "TLS key DIR/hooks.key: there is no private key in PEM form in it"},
		{"a password", good.cert, locked, "TLS key DIR/hooks.key: it is encrypted: write it without a password (openssl pkey -in FILE -out OTHER)"},
		{"an old password", good.cert, old, "TLS key DIR/hooks.key: it is encrypted: write it without a password (openssl pkey -in FILE -out OTHER)"},
		{"two renewals", good.cert, other.key, "TLS certificate DIR/hooks.pem with key DIR/hooks.key: tls: private key does not match public key: both have to be of one renewal"},
		{"too large", make([]byte, maxFile+1), good.key, "TLS certificate DIR/hooks.pem: larger than 1024 KiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			cert, key := made{tt.cert, tt.key}.put(t, dir)
			for path, data := range map[string][]byte{cert: tt.cert, key: tt.key} {
				if data == nil {
					must(t, os.Remove(path))
				}
			}
			_, err := Files(cert, key, nil)
			got := ""
			if err != nil {
				got = filepath.ToSlash(strings.ReplaceAll(err.Error(), dir, "DIR"))
			}
			if got != tt.want {
				t.Errorf("error %q, want %q", got, tt.want)
			}
		})
	}
}

// TestFilesWarnOfWhatSendersRefuse: such a certificate is shown all the same, as
// some senders don't look.
func TestFilesWarnOfWhatSendersRefuse(t *testing.T) {
	now := time.Now()
	for _, tt := range []struct {
		name string
		m    made
		want []string
	}{
		{"good", makeCert(t, "hooks.example.org", now.Add(-day), now.Add(90*day)), nil},
		{"soon", makeCert(t, "hooks.example.org", now.Add(-day), now.Add(13*day)), []string{`level=WARN msg="TLS certificate expires soon: renew it"`}},
		{"over", makeCert(t, "hooks.example.org", now.Add(-2*day), now.Add(-day)), []string{`level=ERROR msg="TLS certificate has expired: renew it"`}},
		{"to come", makeCert(t, "hooks.example.org", now.Add(day), now.Add(90*day)), []string{`level=WARN msg="TLS certificate is not valid yet: is the clock right?"`}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log memory
			cert, key := tt.m.put(t, t.TempDir())
			if _, err := Files(cert, key, logTo(&log)); err != nil {
				t.Fatal(err)
			}
			if got := log.take(); !slices.Equal(got, tt.want) {
				t.Errorf("the log has %q, want %q", got, tt.want)
			}
		})
	}
}
