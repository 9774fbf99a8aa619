package rules

import (
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// maxDomains bounds what one certificate is asked for.
const maxDomains = 100

// relayTLS reads where certificates come from.
func (o object) relayTLS() *RelayTLS {
	const form = "{cert: hooks.pem, key: hooks.key}, or {acme: {domains: [hooks.example.org], accept_terms: true}}"
	v, ok := o.part("tls", form, relayTLSKeys()...)
	if !ok {
		return nil
	}
	files := v.keyNode("cert") != nil || v.keyNode("key") != nil
	switch {
	case files && v.keyNode("acme") != nil:
		v.d.fail(v.keyNode("acme"), "leave one of them out", "certificates come from files or from acme, not from both")
		return nil
	case v.keyNode("acme") != nil:
		return &RelayTLS{ACME: v.acme()}
	case !v.needs("tls", form, "cert", "key"):
		return nil
	}
	return &RelayTLS{Cert: v.pemFile("cert", false), Key: v.pemFile("key", true)}
}

func relayTLSKeys() []string { return []string{"cert", "key", "acme"} }

// pemFile reads the path of a file that is there. What it holds is looked at when
// it is used.
func (o object) pemFile(key string, private bool) string {
	n := o.values[key]
	if !o.d.scalar(n, key) || !o.d.name(n, key) || o.fixed(key, "it is the path of a file") == "" {
		return ""
	}
	path := o.d.l.path(n.Value)
	if _, err := readStart(path, 1); err != nil {
		o.d.fail(n, "", "%s: %s: %s", key, path, cause(err))
		return ""
	}
	if private {
		if err := o.d.l.checkSecretFile(path); err != nil {
			o.d.fail(n, "", "%v", err)
		}
	}
	return path
}

func acmeKeys() []string { return []string{"domains", "email", "directory", "cache", "accept_terms"} }

// acme reads how certificates are asked for.
func (o object) acme() *RelayACME {
	const form = "{domains: [hooks.example.org], accept_terms: true}"
	v, ok := o.part("acme", form, acmeKeys()...)
	if !ok || !v.needs("acme", form, "domains") {
		return nil
	}
	a := &RelayACME{Domains: v.domains(), Directory: v.directory(), Email: v.email()}
	if cache := v.fixed("cache", "it is the path of a folder"); cache != "" {
		a.Cache = v.d.l.path(cache)
	}
	v.terms()
	return a
}

// terms makes sure that those of the certificate authority are accepted.
func (o object) terms() {
	const hint = "read the terms of service of who gives the certificates (https://letsencrypt.org/repository/ for Let's Encrypt), then write accept_terms: true"
	n := o.keyNode("accept_terms")
	switch {
	case n == nil:
		o.d.fail(o.node, hint, "acme needs accept_terms: true")
	case o.values["accept_terms"] != nil && !o.flag("accept_terms", true):
		o.d.fail(n, hint, "without accepting the terms of service there is no certificate")
	}
}

// domains reads what certificates are for.
func (o object) domains() []string {
	items := o.nameNodes("domains")
	if len(items) > maxDomains {
		o.d.fail(items[maxDomains], "", "more than %d domains", maxDomains)
		return nil
	}
	var all []string
	for _, n := range items {
		if _, err := netip.ParseAddr(n.Value); err == nil {
			o.d.fail(n, "hooks.example.org", "a certificate is for a name, not for the address %s", n.Value)
			continue
		}
		if strings.HasPrefix(n.Value, "*.") {
			o.d.fail(n, "name each host", "no certificate for %q can be got: only the DNS could prove that it is yours", n.Value)
			continue
		}
		if host := o.d.host(n, "a domain"); host != "" && !slices.Contains(all, host) {
			all = append(all, host)
		}
	}
	return all
}

// email reads whom the certificate authority may write to.
func (o object) email() string {
	text, n := strings.TrimPrefix(o.fixed("email", "it is sent as it stands here"), "mailto:"), o.values["email"]
	at := strings.IndexByte(text, '@')
	if text != "" && (at < 1 || at == len(text)-1 || len(text) > maxName || strings.ContainsAny(text, " ,<>?") || strings.ContainsFunc(text, isControl)) {
		o.d.fail(n, "ops@example.org", "email must be one address, not %s", show(n))
		return ""
	}
	return text
}

// directory reads the address of the certificate authority.
func (o object) directory() string {
	text, n := o.fixed("directory", "it is shown in logs"), o.values["directory"]
	if text == "" {
		return ""
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		o.d.fail(n, "leave it out for Let's Encrypt, or write https://host/directory", "directory must be an https:// URL, not %s", show(n))
		return ""
	}
	return text
}

// certified warns of hosts that the relay is reached by, but that its
// certificate will not name.
func (r *RelayFile) certified(o object) {
	if r.TLS == nil || r.TLS.ACME == nil || len(r.TLS.ACME.Domains) == 0 {
		return
	}
	domains := r.TLS.ACME.Domains
	u, err := url.Parse(r.PublicURL)
	if err == nil && u.Scheme == "https" && !slices.Contains(domains, strings.ToLower(u.Hostname())) {
		o.d.warn(o.values["public_url"], "add it to tls: {acme: {domains: […]}}", "no certificate is asked for the host of public_url")
	}
	for _, b := range r.Buckets {
		for _, in := range b.Inputs {
			if in.CustomDomain != "" && !slices.Contains(domains, in.CustomDomain) {
				o.d.warn(o.keyNode("tls"), "add it to tls: {acme: {domains: […]}}", "no certificate is asked for the custom_domain %s", in.CustomDomain)
			}
		}
	}
}
