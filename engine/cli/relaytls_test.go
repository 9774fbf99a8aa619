//go:build unix

package cli

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"hookrun/relay/certs/certstest"
)

const tlsInput = "b90f2fe9-621d-4290-9e74-edd5b61325dd"

// writeCertificate makes a certificate for 127.0.0.1 that is its own authority.
func writeCertificate(t *testing.T, dir string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(90 * 24 * time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyBytes, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: cert}, "key.pem": {Type: "PRIVATE KEY", Bytes: keyBytes}} {
		data := pem.EncodeToMemory(block)
		pool.AppendCertsFromPEM(data)
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return pool
}

// program starts the built hookrun, which ends with the test.
func program(t *testing.T, dir string, log *lockedBuffer, env []string, args ...string) {
	t.Helper()
	cmd := exec.Command(builtBinary, args...)
	cmd.Dir, cmd.Stderr, cmd.Env = dir, log, append(os.Environ(), env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("hookrun %s ended with %v after SIGTERM, want exit code 0; its log is\n%s", args[0], err, log)
		}
	})
}

// TestRelayOverTLS: webhooks come in by https, and go out by wss to a runner that
// trusts the relay's certificate.
func TestRelayOverTLS(t *testing.T) {
	dir, address := t.TempDir(), freeAddress()
	pool := writeCertificate(t, dir)
	for name, text := range map[string]string{
		"relay.yaml": `
tokens: [{key: buildbox, secret: relay-s3cret}]
buckets: [{name: deploys, inputs: [{name: in, id: ` + tlsInput + `}]}]
tls: {cert: cert.pem, key: key.pem}
`,
		"rules.yaml": `
relay: {url: "wss://` + address + `/v1/socket"}
buckets: {deploys: {verify: none}}
rules: [{name: keep, bucket: deploys, actions: [{file: got, content: "{{ raw }}"}]}]
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var relayLog, runLog lockedBuffer
	program(t, dir, &relayLog, nil, "relay", "-config", "relay.yaml", "-data", "relay", "-listen", address)
	program(t, dir, &runLog, []string{"SSL_CERT_FILE=" + filepath.Join(dir, "cert.pem"), "RELAY_KEY=buildbox", "RELAY_SECRET=relay-s3cret"},
		"-rules", "rules.yaml", "-data", "run")
	await := func(what string, ok func() bool) {
		t.Helper()
		for end := time.Now().Add(patience); !ok(); wait(t, 20*time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("waited in vain for %s; the logs are\n%s\n%s", what, &relayLog, &runLog)
			}
		}
	}
	await("the runner to connect", func() bool { return strings.Contains(runLog.String(), "relay connected") })

	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, ForceAttemptHTTP2: true}}
	defer client.CloseIdleConnections()
	resp, err := client.Post("https://"+address+"/v1/webhooks/"+tlsInput, "text/plain", strings.NewReader("over TLS"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.ProtoMajor != 1 || resp.TLS.Version < tls.VersionTLS12 {
		t.Errorf("the sender got %s over %s, want 200 over HTTP/1.1: sockets go over it too", resp.Status, resp.Proto)
	}
	await("the webhook", func() bool {
		got, _ := os.ReadFile(filepath.Join(dir, "got"))
		return string(got) == "over TLS"
	})
	if !strings.Contains(relayLog.String(), "url=https://"+address) {
		t.Errorf("the relay prints no https URL:\n%s", &relayLog)
	}
}

// TestRelayHasACertificateOfAnAuthority: the relay asks for one at its start, and
// the authority asks back over HTTP and over TLS.
func TestRelayHasACertificateOfAnAuthority(t *testing.T) {
	dir, address, asked := t.TempDir(), freeAddress(), freeAddress()
	authority := certstest.New(t, certstest.Ports{HTTP: portOf(t, asked), TLS: portOf(t, address)})
	trusted := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: authority.Server.Raw})
	for name, text := range map[string]string{
		"authority.pem": string(trusted),
		"relay.yaml": `
tokens: [{key: buildbox, secret: relay-s3cret}]
buckets: [{name: deploys, inputs: [{name: in, id: ` + tlsInput + `}]}]
tls: {acme: {domains: [hooks.example.org], accept_terms: true, directory: "` + authority.Directory + `"}}
`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var log lockedBuffer
	program(t, dir, &log, []string{"SSL_CERT_FILE=" + filepath.Join(dir, "authority.pem")},
		"relay", "-config", "relay.yaml", "-data", "relay", "-listen", address, "-acme-listen", asked)

	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: authority.Roots, ServerName: "hooks.example.org"},
	}}
	defer client.CloseIdleConnections()
	for end := time.Now().Add(patience); ; wait(t, 20*time.Millisecond) {
		resp, err := client.Post("https://"+address+"/v1/webhooks/"+tlsInput, "text/plain", strings.NewReader("x"))
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("the sender got %s, want 200", resp.Status)
			}
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no certificate: %v; the log is\n%s", err, &log)
		}
	}
}

func portOf(t *testing.T, address string) int {
	t.Helper()
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return a.Port
}
