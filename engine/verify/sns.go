package verify

import (
	"cmp"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"time"
)

// snsTolerance is how long Amazon SNS tries a delivery, an hour, and a little
// more; the timestamp stays that of the first try.
const snsTolerance = time.Hour + DefaultTolerance

// sns is the checker of Amazon SNS. Every account of AWS can have messages
// signed, so the topic is checked too.
// https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
type sns struct {
	topic     string
	confirm   bool
	tolerance time.Duration
	certs     *certificates
}

var _ checker = (*sns)(nil)

func newSNS(c Config) (checker, error) {
	if !strings.HasPrefix(c.JWT.Issuer, "arn:") {
		return nil, &ConfigError{"issuer", "scheme sns needs the ARN of the topic: Amazon signs the messages of everybody's topics",
			"issuer: arn:aws:sns:eu-west-1:123456789012:deploys"}
	}
	return &sns{topic: c.JWT.Issuer, confirm: c.ConfirmSubscription, tolerance: cmp.Or(c.Tolerance, snsTolerance), certs: newCertificates(c.Fetch)}, nil
}

// snsMessage are the fields of a body, as they are spelt. They are not read
// into a struct, which would take "message" for "Message".
type snsMessage map[string]string

func parseSNS(body []byte) (snsMessage, bool) {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(body, &raw); err != nil {
		return nil, false
	}
	m := snsMessage{}
	for name, value := range raw {
		var text *string
		if json.Unmarshal(value, &text) == nil && text != nil {
			m[name] = *text
		}
	}
	return m, m["Type"] != "" && m["Signature"] != ""
}

// signed is what Amazon signs: names and values, each on its line.
func (m snsMessage) signed() []byte {
	names := []string{"Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"}
	if m["Type"] != "Notification" {
		names = []string{"Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"}
	}
	var b strings.Builder
	for _, name := range names {
		if value, ok := m[name]; ok || name != "Subject" {
			b.WriteString(name + "\n" + value + "\n")
		}
	}
	return []byte(b.String())
}

func (s *sns) check(ctx context.Context, r Request, now time.Time) error {
	m, ok := parseSNS(r.Body)
	if !ok {
		return fail("the body is not a signed message of SNS; raw delivery is not signed, turn it off")
	}
	if m["TopicArn"] != s.topic {
		return fail("the message is of another topic")
	}
	if f := s.checkSignature(ctx, m, now); f != nil {
		return f
	}
	at, err := time.Parse(time.RFC3339, m["Timestamp"])
	if err != nil {
		return fail("the field Timestamp is not a time")
	}
	if f := within(at, now.Truncate(time.Millisecond), s.tolerance); f != nil {
		return f
	}
	return nil
}

func (s *sns) checkSignature(ctx context.Context, m snsMessage, now time.Time) *Failure {
	switch m["Type"] {
	case "Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation":
	default:
		return fail("the field Type is not one that SNS sends")
	}
	signature, ok := decode("base64", m["Signature"])
	if !ok {
		return fail("the field Signature is not base64")
	}
	public, f := s.certs.key(ctx, m["SigningCertURL"], now)
	if f != nil {
		return f
	}
	hash, sum, ok := snsHash(m["SignatureVersion"], m.signed())
	if !ok {
		return fail("the field SignatureVersion is neither 1 nor 2")
	}
	if rsa.VerifyPKCS1v15(public, hash, sum, signature) != nil {
		return fail("the signature differs")
	}
	return nil
}

// snsHash hashes as the version says. SHA-1 is what version 1 has; to use its
// weakness one would have to make Amazon sign a chosen message.
func snsHash(version string, b []byte) (crypto.Hash, []byte, bool) {
	switch version {
	case "1":
		sum := sha1.Sum(b)
		return crypto.SHA1, sum[:], true
	case "2":
		sum := sha256.Sum256(b)
		return crypto.SHA256, sum[:], true
	}
	return 0, nil, false
}

// snsURL reads a URL that must lead to Amazon SNS, and nowhere else: without
// this, whoever sends a message says whose certificate it is checked with.
func snsURL(text string) (*url.URL, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.User != nil || u.Fragment != "" {
		return nil, false
	}
	return u, isSNSHost(u.Host)
}

// isSNSHost reports whether a host is sns.<region>.amazonaws.com, or .com.cn.
func isSNSHost(host string) bool {
	name := strings.TrimSuffix(host, ".cn")
	region, ok := strings.CutPrefix(name, "sns.")
	region, ok2 := strings.CutSuffix(region, ".amazonaws.com")
	return ok && ok2 && region != "" && strings.Trim(region, "abcdefghijklmnopqrstuvwxyz0123456789-") == "" && !strings.Contains(region, ".")
}

// confirmURL is the URL whose GET confirms a subscription of the topic.
func (s *sns) confirmURL(m snsMessage) (string, bool) {
	u, ok := snsURL(m["SubscribeURL"])
	if !ok || u.Path != "/" && u.Path != "" {
		return "", false
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || q.Get("Action") != "ConfirmSubscription" || q.Get("TopicArn") != s.topic {
		return "", false
	}
	return u.String(), true
}

func (s *sns) sign(Request, time.Time, string) (Signed, error) {
	return Signed{}, fmt.Errorf("%w: only Amazon has the private key of SNS", ErrCantSign)
}

func (s *sns) diagnose(context.Context, Request, time.Time, []Known) string { return "" }
