package verify

import "time"

// A row describes a scheme that signs bytes made of the body and a few headers.
type row struct {
	scheme string
	names  []names // in turn: the first whose signature is there is the one that is checked

	list      string // what stands between several signatures in the header; "" where only one may be there
	prefix    string // before each of them
	stampMark string // before the timestamp, where it is an item of the list
	stampBody string // the field of the body that holds the timestamp, in milliseconds

	algorithm string // sha256 where empty
	encoding  string // hex where empty
	payload   string // {{raw}} where empty
	key       keyForm

	tolerance time.Duration // DefaultTolerance where 0
	inner     bool          // of a form the payload field is signed, decoded
	twilio    bool          // the URL is signed, with the fields of a form
	object    bool          // only a JSON object is taken
	takes     []string      // keys besides secret and tolerance
}

// names are the headers of one spelling of a scheme.
type names struct{ signature, timestamp, id string }

// A keyForm is how the text of a secret becomes a key.
type keyForm int

const (
	keyText     keyForm = iota // its bytes
	keyStandard                // whsec_, whpk_ or whsk_ and base64
	keyHex                     // an ed25519 public key, or the seed of a private one
)

// rows is the table. Each row names the page of the vendor that defines it.
func rows() []row {
	return []row{
		// https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
		// X-Hub-Signature, with SHA-1, is never looked at: who can make a
		// collision must not be able to choose the weaker header.
		{scheme: "github", names: []names{{signature: "X-Hub-Signature-256"}}, prefix: "sha256="},

		// https://docs.gitea.com/usage/webhooks and services/webhook/deliver.go there. X-Gogs-Signature is
		// the same value for programs made for Gogs, and all that Gogs itself sends.
		{scheme: "gitea", names: []names{{signature: "X-Gitea-Signature"}, {signature: "X-Gogs-Signature"}}, inner: true},

		// https://forgejo.org/docs/latest/user/webhooks/: as gitea, under its own name and the two older
		// ones. A wrong X-Forgejo-Signature is not helped by a right older one.
		{scheme: "forgejo", names: []names{{signature: "X-Forgejo-Signature"}, {signature: "X-Gitea-Signature"}, {signature: "X-Gogs-Signature"}}, inner: true},

		// https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/#Secure-webhooks: the header's name is that of GitHub's SHA-1.
		{scheme: "bitbucket", names: []names{{signature: "X-Hub-Signature"}}, prefix: "sha256="},

		// https://developer.atlassian.com/cloud/jira/platform/webhooks/#secure-admin-webhooks, and Confluence alike
		{scheme: "atlassian", names: []names{{signature: "X-Hub-Signature"}}, prefix: "sha256="},

		// https://docs.stripe.com/webhooks#verify-manually: the secret is used with its whsec_, as it is.
		{scheme: "stripe", names: []names{{signature: "Stripe-Signature"}}, list: ",", prefix: "v1=", stampMark: "t=",
			payload: "{{timestamp}}.{{raw}}"},

		// https://docs.slack.dev/authentication/verifying-requests-from-slack
		{scheme: "slack", names: []names{{signature: "X-Slack-Signature", timestamp: "X-Slack-Request-Timestamp"}},
			prefix: "v0=", payload: "v0:{{timestamp}}:{{raw}}"},

		// https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events
		{scheme: "zoom", names: []names{{signature: "X-Zm-Signature", timestamp: "X-Zm-Request-Timestamp"}},
			prefix: "v0=", payload: "v0:{{timestamp}}:{{raw}}"},

		// https://shopify.dev/docs/apps/build/webhooks/subscribe/https
		{scheme: "shopify", names: []names{{signature: "X-Shopify-Hmac-Sha256"}}, encoding: "base64"},

		// https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
		// and, for the svix- names, https://docs.svix.com/receiving/verifying-payloads/how-manual
		{scheme: "standard-webhooks", names: standardNames(), list: " ", encoding: "base64",
			payload: "{{id}}.{{timestamp}}.{{raw}}", key: keyStandard},

		// https://www.twilio.com/docs/usage/security#validating-requests
		{scheme: "twilio", names: []names{{signature: "X-Twilio-Signature"}}, algorithm: "sha1", encoding: "base64",
			payload: "{{url}}", twilio: true, takes: []string{"public_url"}},

		// https://linear.app/developers/webhooks#securing-webhooks, which also asks for 60 s
		{scheme: "linear", names: []names{{signature: "Linear-Signature"}}, stampBody: "webhookTimestamp", tolerance: time.Minute},

		// https://docs.sentry.io/organization/integrations/integration-platform/webhooks/#verifying-the-signature;
		// Sentry-Hook-Timestamp is not signed, and so proves nothing.
		{scheme: "sentry", names: []names{{signature: "Sentry-Hook-Signature"}}},

		// https://grafana.com/docs/grafana/latest/alerting/configure-notifications/manage-contact-points/integrations/webhook-notifier/#hmac-signature
		// Both names can be changed there; the timestamp is signed once it has one.
		{scheme: "grafana", names: []names{{signature: "X-Grafana-Alerting-Signature"}}, takes: []string{"header", "timestamp_header"}},

		// https://discord.com/developers/docs/events/webhook-events and .../interactions/overview#setting-up-an-endpoint
		{scheme: "discord", names: []names{{signature: "X-Signature-Ed25519", timestamp: "X-Signature-Timestamp"}},
			algorithm: "ed25519", payload: "{{timestamp}}{{raw}}", key: keyHex},

		// https://developer.pagerduty.com/docs/webhooks/webhook-signatures/
		{scheme: "pagerduty", names: []names{{signature: "X-PagerDuty-Signature"}}, list: ",", prefix: "v1="},

		// https://circleci.com/docs/guides/integration/outbound-webhooks/#validate-webhooks
		{scheme: "circleci", names: []names{{signature: "Circleci-Signature"}}, list: ",", prefix: "v1="},

		// https://developers.facebook.com/docs/graph-api/webhooks/getting-started#validate-payloads
		{scheme: "meta", names: []names{{signature: "X-Hub-Signature-256"}}, prefix: "sha256=", takes: []string{"verify_token"}},

		// https://www.dropbox.com/developers/reference/webhooks#notifications
		{scheme: "dropbox", names: []names{{signature: "X-Dropbox-Signature"}}},

		// https://docs.x.com/x-api/webhooks/quickstart, "signature header validation". The answer to its
		// challenge is a signature of what was asked, which could be sent back as a body: see challenge.go.
		{scheme: "twitter", names: []names{{signature: "X-Twitter-Webhooks-Signature"}}, prefix: "sha256=", encoding: "base64", object: true},
	}
}

// standardNames are the two spellings of Standard Webhooks. A request that has
// both is held to the first.
func standardNames() []names {
	return []names{
		{"Webhook-Signature", "Webhook-Timestamp", "Webhook-Id"},
		{"Svix-Signature", "Svix-Timestamp", "Svix-Id"},
	}
}

// keys are those of the file that the scheme takes.
func (r row) keys() []string {
	keys := append([]string{"secret"}, r.takes...)
	if r.stamped() || r.scheme == "grafana" {
		keys = append(keys, "tolerance")
	}
	return keys
}

// stamped reports whether the scheme signs a timestamp.
func (r row) stamped() bool {
	return r.stampMark != "" || r.stampBody != "" || r.names[0].timestamp != ""
}
