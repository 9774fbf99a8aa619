package verify

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

const (
	snsTopic = "arn:aws:sns:us-west-2:123456789012:MyTopic"
	snsCert  = "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233fe7bb5f59f96de52f.pem"
)

// amazon signs messages as Amazon SNS does and serves its certificate.
type amazon struct {
	key     *rsa.PrivateKey
	cert    []byte // PEM
	fetched atomic.Int32
}

func newAmazon(t testing.TB, name string) *amazon {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: snsTime().Add(-time.Hour), NotAfter: snsTime().Add(24 * time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &amazon{key: key, cert: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
}

func snsTime() time.Time { return time.Date(2012, 5, 2, 0, 54, 6, 655e6, time.UTC) }

func (a *amazon) fetch(_ context.Context, url string) ([]byte, error) {
	a.fetched.Add(1)
	if url != snsCert {
		return nil, fmt.Errorf("no certificate at %s", url)
	}
	return a.cert, nil
}

// notification is the example of Amazon's documentation.
func notification() snsMessage {
	return snsMessage{
		"Type": "Notification", "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324", "TopicArn": snsTopic,
		"Subject": "My First Message", "Message": "Hello world!", "Timestamp": "2012-05-02T00:54:06.655Z",
		"SignatureVersion": "1", "SigningCertURL": snsCert,
	}
}

func confirmation() snsMessage {
	return snsMessage{
		"Type": "SubscriptionConfirmation", "MessageId": "165545c9-2a5c-472c-8df2-7ff2be2b3b1b", "Token": "2336412f37", "TopicArn": snsTopic,
		"Message":      "You have chosen to subscribe to the topic.",
		"SubscribeURL": "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:aws:sns:us-west-2:123456789012:MyTopic&Token=2336412f37",
		"Timestamp":    "2012-05-02T00:54:06.655Z", "SignatureVersion": "2", "SigningCertURL": snsCert,
	}
}

// canonical is what Amazon's page says is signed, written down again.
func canonical(m snsMessage) string {
	if m["Type"] == "Notification" {
		text := "Message\n" + m["Message"] + "\nMessageId\n" + m["MessageId"] + "\n"
		if _, ok := m["Subject"]; ok {
			text += "Subject\n" + m["Subject"] + "\n"
		}
		return text + "Timestamp\n" + m["Timestamp"] + "\nTopicArn\n" + m["TopicArn"] + "\nType\n" + m["Type"] + "\n"
	}
	return "Message\n" + m["Message"] + "\nMessageId\n" + m["MessageId"] + "\nSubscribeURL\n" + m["SubscribeURL"] +
		"\nTimestamp\n" + m["Timestamp"] + "\nToken\n" + m["Token"] + "\nTopicArn\n" + m["TopicArn"] + "\nType\n" + m["Type"] + "\n"
}

// sign is a request with a message.
func (a *amazon) sign(t testing.TB, m snsMessage) Request {
	t.Helper()
	hash := crypto.SHA1
	if m["SignatureVersion"] == "2" {
		hash = crypto.SHA256
	}
	h := hash.New()
	h.Write([]byte(canonical(m)))
	b, err := rsa.SignPKCS1v15(rand.Reader, a.key, hash, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	m = maps.Clone(m)
	m["Signature"] = base64.StdEncoding.EncodeToString(b)
	return Request{Method: http.MethodPost, Body: encodeMessage(t, m)}
}

func encodeMessage(t testing.TB, m snsMessage) []byte {
	t.Helper()
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestSNS(t *testing.T) {
	a := newAmazon(t, "sns.amazonaws.com")
	change := func(field, value string) func(snsMessage) {
		return func(m snsMessage) { m[field] = value }
	}
	for _, tt := range []struct {
		name          string
		message       snsMessage
		before, after func(snsMessage) // it is signed
		want          string
	}{
		{name: "version 1", message: notification()},
		{name: "version 2", message: notification(), before: change("SignatureVersion", "2")},
		{name: "without subject", message: notification(), before: func(m snsMessage) { delete(m, "Subject") }},
		{name: "confirmation", message: confirmation()},
		{name: "China", message: notification(), before: change("SigningCertURL", "https://sns.cn-north-1.amazonaws.com.cn/a.pem"), want: "fetch the certificate of Amazon SNS: no certificate at https://sns.cn-north-1.amazonaws.com.cn/a.pem"},
		{name: "message changed", message: notification(), after: change("Message", "Bye"), want: "the signature differs"},
		{name: "subject changed", message: notification(), after: change("Subject", "Bye"), want: "the signature differs"},
		{name: "subject taken off", message: notification(), after: func(m snsMessage) { delete(m, "Subject") }, want: "the signature differs"},
		{name: "id changed", message: notification(), after: change("MessageId", "1"), want: "the signature differs"},
		{name: "time changed", message: notification(), after: change("Timestamp", "2012-05-02T00:54:07.655Z"), want: "the signature differs"},
		{name: "version changed", message: notification(), after: change("SignatureVersion", "2"), want: "the signature differs"},
		{name: "version 3", message: notification(), after: change("SignatureVersion", "3"), want: "the field SignatureVersion is neither 1 nor 2"},
		{name: "type changed", message: notification(), after: change("Type", "UnsubscribeConfirmation"), want: "the signature differs"},
		{name: "unknown type", message: notification(), before: change("Type", "X"), want: "the field Type is not one that SNS sends"},
		{name: "topic of another", message: notification(), before: change("TopicArn", "arn:aws:sns:us-west-2:666:MyTopic"), want: "the message is of another topic"},
		{name: "signature not base64", message: notification(), after: change("Signature", "!"), want: "the field Signature is not base64"},
		{name: "raw delivery", message: snsMessage{}, after: func(m snsMessage) { clear(m) }, want: "the body is not a signed message of SNS; raw delivery is not signed, turn it off"},
		{name: "no time", message: notification(), before: change("Timestamp", "now"), want: "the field Timestamp is not a time"},
		{name: "too old", message: notification(), before: change("Timestamp", "2012-05-01T23:49:05.655Z"), want: "the timestamp is 1h5m1s old, more than 1h5m0s"},
		{name: "as old as may be", message: notification(), before: change("Timestamp", "2012-05-01T23:49:06.655Z")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := made(t, Config{Scheme: "sns", JWT: JWT{Issuer: snsTopic}, Fetch: a.fetch})
			m := maps.Clone(tt.message)
			if tt.before != nil {
				tt.before(m)
			}
			r := a.sign(t, m)
			if tt.after != nil {
				signed, _ := parseSNS(r.Body)
				if signed == nil {
					signed = snsMessage{}
				}
				tt.after(signed)
				r.Body = encodeMessage(t, signed)
			}
			if tt.want == "" {
				wantPass(t, v, r, snsTime())
				return
			}
			wantReason(t, v, r, snsTime(), tt.want)
		})
	}
}

// TestSNSCertificatePlaces are URLs that lead somewhere else.
func TestSNSCertificatePlaces(t *testing.T) {
	a := newAmazon(t, "sns.amazonaws.com")
	for _, place := range []string{
		"", "http://sns.us-west-2.amazonaws.com/a.pem", "https://sns.us-west-2.amazonaws.com.evil.com/a.pem", "https://evil.com/sns.us-west-2.amazonaws.com/a.pem",
		"https://sns.us-west-2.amazonaws.com@evil.com/a.pem", "https://user@sns.us-west-2.amazonaws.com/a.pem", "https://sns.us-west-2.amazonaws.com:8443/a.pem",
		"https://sns.evil.com.amazonaws.com/a.pem", "https://sns..amazonaws.com/a.pem", "https://s3.amazonaws.com/a.pem", "https://sns.amazonaws.com/a.pem",
		"https://sns.us-west-2.amazonaws.com/a.txt", "https://sns.us-west-2.amazonaws.com/?x=a.pem", "https://sns.us-west-2.amazonaws.com/a.pem?x", "https://sns.us-west-2.amazonaws.com.cn.cn/a.pem",
		"https://SNS.us-west-2.amazonaws.com/a.pem", "//sns.us-west-2.amazonaws.com/a.pem", "https://sns.us-west-2.amazonaws.com/a.pem#x",
	} {
		t.Run(place, func(t *testing.T) {
			v := made(t, Config{Scheme: "sns", JWT: JWT{Issuer: snsTopic}, Fetch: a.fetch})
			m := notification()
			m["SigningCertURL"] = place
			wantReason(t, v, a.sign(t, m), snsTime(), "the field SigningCertURL does not lead to a certificate of Amazon SNS")
		})
	}
	if n := a.fetched.Load(); n != 0 {
		t.Errorf("%d places were fetched, want none", n)
	}
}

func TestSNSCertificates(t *testing.T) {
	a, other := newAmazon(t, "sns.amazonaws.com"), newAmazon(t, "evil.example.com")
	t.Run("kept", func(t *testing.T) {
		v := made(t, Config{Scheme: "sns", JWT: JWT{Issuer: snsTopic}, Fetch: a.fetch})
		before := a.fetched.Load()
		wantPass(t, v, a.sign(t, notification()), snsTime())
		wantPass(t, v, a.sign(t, confirmation()), snsTime())
		if n := a.fetched.Load() - before; n != 1 {
			t.Errorf("the certificate was fetched %d times, want 1", n)
		}
	})
	t.Run("for another name", func(t *testing.T) {
		v := made(t, Config{Scheme: "sns", JWT: JWT{Issuer: snsTopic}, Fetch: other.fetch})
		wantReason(t, v, other.sign(t, notification()), snsTime(), "what SigningCertURL leads to is not a certificate of Amazon SNS")
	})
	t.Run("ended", func(t *testing.T) {
		v := made(t, Config{Scheme: "sns", JWT: JWT{Issuer: snsTopic}, Fetch: a.fetch})
		wantReason(t, v, a.sign(t, notification()), snsTime().Add(25*time.Hour), "the certificate of Amazon SNS is not valid now")
	})
	t.Run("not too many", func(t *testing.T) {
		v := made(t, Config{Scheme: "sns", JWT: JWT{Issuer: snsTopic}, Fetch: func(context.Context, string) ([]byte, error) {
			a.fetched.Add(1)
			return nil, errors.New("none")
		}})
		before := a.fetched.Load()
		for i := range 50 {
			m := notification()
			m["SigningCertURL"] = fmt.Sprintf("https://sns.us-west-2.amazonaws.com/%d.pem", i)
			_ = v.Check(t.Context(), a.sign(t, m), snsTime())
		}
		if n := a.fetched.Load() - before; n != maxCertsFetch {
			t.Errorf("%d certificates were fetched, want %d", n, maxCertsFetch)
		}
	})
}

func TestSNSConfirmation(t *testing.T) {
	a := newAmazon(t, "sns.amazonaws.com")
	good := confirmation()["SubscribeURL"]
	for _, tt := range []struct {
		name, url string
		allowed   bool
		want      string // Confirm
		ok        bool
	}{
		{"allowed", good, true, good, true},
		{"not allowed", good, false, "", false},
		{"elsewhere", "https://evil.com/?Action=ConfirmSubscription&TopicArn=" + snsTopic, true, "", false},
		{"another action", "https://sns.us-west-2.amazonaws.com/?Action=Publish&TopicArn=" + snsTopic, true, "", false},
		{"another topic", "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription&TopicArn=arn:x", true, "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v := made(t, Config{Scheme: "sns", JWT: JWT{Issuer: snsTopic}, Fetch: a.fetch, ConfirmSubscription: tt.allowed})
			m := confirmation()
			m["SubscribeURL"] = tt.url
			c, ok, err := v.Challenge(t.Context(), a.sign(t, m), snsTime())
			if err != nil || ok != tt.ok || ok && (c.Confirm != tt.want || !c.Signed || c.Status != 200) {
				t.Errorf("Challenge = %+v, %v, %v, want Confirm %q, %v", c, ok, err, tt.want, tt.ok)
			}
		})
	}
	v := made(t, Config{Scheme: "sns", JWT: JWT{Issuer: snsTopic}, Fetch: a.fetch, ConfirmSubscription: true})
	r := a.sign(t, confirmation())
	m, _ := parseSNS(r.Body)
	m["Token"] = "other"
	r.Body = encodeMessage(t, m)
	if _, ok, err := v.Challenge(t.Context(), r, snsTime()); !ok || err == nil || err.Error() != "the signature differs" {
		t.Errorf("Challenge of a changed message = %v, %v, want true and a Failure", ok, err)
	}
}
