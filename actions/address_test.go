package actions

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
)

func TestPublicAddresses(t *testing.T) {
	tests := []struct {
		name, addr string
		want       bool
	}{
		{"a resolver", "8.8.8.8", true},
		{"another", "1.1.1.1", true},
		{"below 100.64/10", "100.63.255.255", true},
		{"above 172.16/12", "172.32.0.1", true},
		{"IPv6", "2606:4700:4700::1111", true},
		{"public, written as IPv6", "::ffff:8.8.8.8", true},
		{"loopback", "127.0.0.1", false},
		{"all of 127/8", "127.255.255.254", false},
		{"unspecified", "0.0.0.0", false},
		{"all of 0/8", "0.1.2.3", false},
		{"10/8", "10.0.0.1", false},
		{"172.16/12", "172.16.0.1", false},
		{"end of 172.16/12", "172.31.255.255", false},
		{"192.168/16", "192.168.1.1", false},
		{"CGNAT", "100.64.0.1", false},
		{"metadata of Alibaba", "100.100.100.200", false},
		{"link-local", "169.254.1.1", false},
		{"metadata of AWS, GCP and Azure", "169.254.169.254", false},
		{"metadata of ECS tasks", "169.254.170.2", false},
		{"wire server of Azure", "168.63.129.16", false},
		{"metadata of Oracle", "192.0.0.192", false},
		{"examples", "192.0.2.1", false},
		{"relays of 6to4", "192.88.99.1", false},
		{"benchmarks", "198.18.0.1", false},
		{"multicast", "224.0.0.1", false},
		{"240/4", "240.0.0.1", false},
		{"broadcast", "255.255.255.255", false},
		{"IPv6 loopback", "::1", false},
		{"IPv6 unspecified", "::", false},
		{"v4-mapped loopback", "::ffff:127.0.0.1", false},
		{"v4-mapped metadata", "::ffff:a9fe:a9fe", false},
		{"v4-compatible", "::7f00:1", false},
		{"NAT64", "64:ff9b::7f00:1", false},
		{"NAT64 of a site", "64:ff9b:1::a00:1", false},
		{"6to4", "2002:7f00:1::1", false},
		{"Teredo", "2001:0:1::1", false},
		{"unique local", "fd00:ec2::254", false},
		{"IPv6 link-local", "fe80::1", false},
		{"with a zone", "fe80::1%eth0", false},
		{"public with a zone", "2606:4700::1%eth0", false},
		{"site-local", "fec0::1", false},
		{"IPv6 multicast", "ff02::1", false},
		{"IPv6 examples", "2001:db8::1", false},
		{"discard", "100::1", false},
		{"segment routing", "5f00::1", false},
	}
	for _, tt := range tests {
		if got := public(netip.MustParseAddr(tt.addr)); got != tt.want {
			t.Errorf("%s: public(%s) = %v, want %v", tt.name, tt.addr, got, tt.want)
		}
	}
}

// TestHostFromTheEventIsNotOfThisNetwork calls what senders would try.
func TestHostFromTheEventIsNotOfThisNetwork(t *testing.T) {
	called := false
	here := serve(t, func(http.ResponseWriter, *http.Request) { called = true })
	port := here[strings.LastIndexByte(here, ':'):]
	for _, host := range []string{
		"127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "017700000001", "127.0.0.1.", "0", "0.0.0.0",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
		"localhost", "LOCALHOST", "localhost.", "169.254.169.254", "[fd00:ec2::254]", "[fe80::1%25lo]", "10.0.0.1", "192.168.0.1", "100.64.0.1",
		"１２７.０.０.１", "127。0。0。1", "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ", "%6cocalhost", "127.0.0.1%00.example", `127.0.0.1\@example`, "example@127.0.0.1", "127.0.0.1#@example", "127.0.0.1?@example",
	} {
		called = false
		_, err := HTTP{URL: text(t, "{{ raw }}"), Client: client(t), resolver: names(nil)}.Do(t.Context(), newRun("http://"+host+port+"/").in)
		if err == nil || called {
			t.Errorf("%s: error %v, and the server was called: %v, want it refused", host, err, called)
		}
	}
	const want = ": it leads to 127.0.0.1, which is not on the public internet; list it in http_allow if it may be reached"
	_, err := HTTP{URL: text(t, "{{ raw }}"), Client: client(t)}.Do(t.Context(), newRun(here+"/path?q").in)
	wantPermanent(t, err, "GET to the host of the event"+want)
}

func TestPartsOfTheHostFromTheEvent(t *testing.T) {
	const wrong = "http: what the event makes of it is not an http or https URL, without a user"
	const noPart = "http: a value in the host of the URL is empty or no part of one"
	tests := []struct{ name, url, value, want string }{
		{"all", "{{ raw }}", "https://hooks.example/a/../b?c=d%20e&f", "https://hooks.example/a/../b?c=d%20e&f"},
		{"all, and a path", "{{ raw }}/{{ raw[:5] }}?{{ raw[:5] }}", "https://hooks.example", "https://hooks.example/https?https"},
		{"host", "https://{{ raw }}/x", "hooks.example", "https://hooks.example/x"},
		{"part of the host", "https://api.{{ raw }}.example/x", "eu", "https://api.eu.example/x"},
		{"port", "https://api.example:{{ raw }}/x", "8443", "https://api.example:8443/x"},
		{"scheme", "{{ raw }}://api.example/x", "http", "http://api.example/x"},
		{"path in the host", "https://{{ raw }}/x", "evil.example/y", noPart},
		{"query in the host", "https://{{ raw }}/x", "evil.example?", noPart},
		{"user in the host", "https://api.{{ raw }}/x", "example@evil.example", noPart},
		{"percent in the host", "https://{{ raw }}/x", "evil%2eexample", noPart},
		{"empty host", "https://{{ raw }}/x", "", noPart},
		{"no port", "https://api.example:{{ raw }}/x", "x", wrong},
		{"user", "{{ raw }}", "https://user:pass@hooks.example/", wrong},
		{"other scheme", "{{ raw }}", "file:///etc/passwd", wrong},
		{"gopher", "{{ raw }}", "gopher://hooks.example/_x", wrong},
		{"no scheme", "{{ raw }}", "//hooks.example/", wrong},
		{"no host", "{{ raw }}", "http:///x", wrong},
		{"only a port", "{{ raw }}", "http://:80/x", wrong},
		{"control character", "{{ raw }}", "http://hooks.example/\r\nX: y", wrong},
		{"long", "{{ raw }}", "http://" + strings.Repeat("a", 300) + "/", wrong},
		{"nothing", "{{ raw }}", "", wrong},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := HTTP{URL: text(t, tt.url)}.render(newRun(tt.value).in)
			if strings.HasPrefix(tt.want, "http: ") {
				wantPermanent(t, err, tt.want)
			} else if err != nil || c.url.String() != tt.want || c.own {
				t.Errorf("got %v, %v, want %s", c.url, err, tt.want)
			}
		})
	}
}

func TestNoSecretGoesToAHostOfTheEvent(t *testing.T) {
	const want = "http: the event chooses the host, so that no secret can go there"
	secret := text(t, "x ${env:TOKEN}")
	for name, h := range map[string]HTTP{
		"URL":    {URL: text(t, "https://{{ raw }}/${env:TOKEN}")},
		"header": {URL: text(t, "https://{{ raw }}/"), Header: []Var{{"X-A", secret}}},
		"body":   {URL: text(t, "https://{{ raw }}/"), Body: secret},
		"json":   {URL: text(t, "https://{{ raw }}/"), JSON: map[string]any{"a": []any{1, secret}}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := h.Do(t.Context(), newRun("api.example").in)
			wantPermanent(t, err, want)
		})
	}
}

func TestAllowed(t *testing.T) {
	here := serve(t, func(http.ResponseWriter, *http.Request) {})
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(here, "http://"))
	loopback := names(func(string) []string { return []string{"127.0.0.1"} })
	tests := []struct {
		name, allow, host string
		want              bool
	}{
		{"address", "127.0.0.1", "127.0.0.1", true},
		{"address and port", "127.0.0.1:" + port, "127.0.0.1", true},
		{"another port", "127.0.0.1:1", "127.0.0.1", false},
		{"network", "127.0.0.0/8", "127.0.0.1", true},
		{"a name in the network", "127.0.0.0/8", "app.internal.test", true},
		{"another network", "10.0.0.0/8", "127.0.0.1", false},
		{"name", "app.internal.test", "app.internal.test", true},
		{"name in capitals, with a dot", "app.internal.test", "APP.internal.test.", true},
		{"name and port", "app.internal.test:" + port, "app.internal.test", true},
		{"name and another port", "app.internal.test:1", "app.internal.test", false},
		{"names below", "*.internal.test", "app.internal.test", true},
		{"names below, not itself", "*.app.internal.test", "app.internal.test", false},
		{"end of a name", "*.internal.test", "evilinternal.test", false},
		{"another name", "app.internal.test", "evil.test", false},
		{"address of a name", "app.internal.test", "127.0.0.1", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dialer := &net.Dialer{Resolver: loopback}
			tr := &http.Transport{DialContext: dialer.DialContext}
			t.Cleanup(tr.CloseIdleConnections)
			h := HTTP{URL: text(t, "http://{{ raw }}:"+port+"/"), Client: &http.Client{Transport: tr}, Allow: allowed(t, tt.allow), resolver: loopback}
			_, err := h.Do(t.Context(), newRun(tt.host).in)
			if got := err == nil; got != tt.want {
				t.Errorf("allowed: %v, %v, want %v", got, err, tt.want)
			}
			if _, private := errors.AsType[*privateError](err); err != nil && !private {
				t.Errorf("error %v, want one about the address", err)
			}
		})
	}
}

func TestWrongAllowed(t *testing.T) {
	for _, s := range []string{"", "*", "*.", "10.0.0.0/33", "http://app/", "app:0", "app:http", "app:70000", "a b", "10.0.0", "127.1", "user@app", "*.*.example", "[::1"} {
		if a, err := ParseAllowed(s); err == nil {
			t.Errorf("ParseAllowed(%q) = %+v, want an error", s, a)
		}
	}
}

// TestRebindingIsSeen: a name that is public when somebody looks, and this
// machine when the socket connects.
func TestRebindingIsSeen(t *testing.T) {
	called := false
	here := serve(t, func(http.ResponseWriter, *http.Request) { called = true })
	var looks atomic.Int32
	r := names(func(string) []string {
		if looks.Add(1) == 1 {
			return []string{"8.8.8.8"}
		}
		return []string{"127.0.0.1"}
	})
	if addrs, err := r.LookupHost(t.Context(), "rebind.test"); err != nil || addrs[0] != "8.8.8.8" {
		t.Fatalf("first look: %v, %v", addrs, err)
	}
	url := strings.Replace(here, "127.0.0.1", "rebind.test", 1)
	_, err := HTTP{URL: text(t, "{{ raw }}"), Client: client(t), resolver: r}.Do(t.Context(), newRun(url).in)
	wantPermanent(t, err, "GET to the host of the event: it leads to 127.0.0.1, which is not on the public internet; list it in http_allow if it may be reached")
	if called {
		t.Error("the server was called")
	}
}

// TestRedirectIntoThisNetwork: the host that the rule names may be of this
// network, what it redirects to may not.
func TestRedirectIntoThisNetwork(t *testing.T) {
	other := serve(t, func(http.ResponseWriter, *http.Request) { t.Error("the other server was called") })
	for _, to := range []string{other, "http://169.254.169.254/latest/meta-data/", "http://[fd00:ec2::254]/", "http://127.0.0.2/", "http://0/"} {
		home := serve(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/first" {
				http.Redirect(w, r, "/second", http.StatusFound)
				return
			}
			http.Redirect(w, r, to, http.StatusFound)
		})
		_, err := HTTP{URL: text(t, home+"/first"), Client: client(t), resolver: names(nil)}.Do(t.Context(), newRun("").in)
		if err == nil || !strings.HasPrefix(err.Error(), "GET "+home+": ") {
			t.Errorf("redirect to %s: error %v, want it refused", to, err)
		}
		if _, private := errors.AsType[*privateError](err); !private && to != "http://0/" { // which is a name to some resolvers
			t.Errorf("redirect to %s: error %v, want one about the address", to, err)
		}
	}
}

// TestNoProxyForHostsOfTheEvent: it would connect in our place.
func TestNoProxyForHostsOfTheEvent(t *testing.T) {
	var asked atomic.Int32
	proxy := serve(t, func(http.ResponseWriter, *http.Request) { asked.Add(1) })
	tr := &http.Transport{Proxy: func(r *http.Request) (*url.URL, error) { return r.URL.Parse(proxy) }}
	t.Cleanup(tr.CloseIdleConnections)
	c := &http.Client{Transport: tr}
	if _, err := (HTTP{URL: text(t, "http://hooks.test/{{ raw }}"), Client: c}).Do(t.Context(), newRun("x").in); err != nil || asked.Load() != 1 {
		t.Errorf("host of the rule: %v, the proxy was asked %d times, want once", err, asked.Load())
	}
	if _, err := (HTTP{URL: text(t, "http://{{ raw }}/"), Client: c, resolver: names(nil)}).Do(t.Context(), newRun("hooks.test").in); err == nil || asked.Load() != 1 {
		t.Errorf("host of the event: %v, the proxy was asked %d times, want once before", err, asked.Load())
	}
}

// names is a resolver that knows what lookup says, IPv4 addresses, and asks
// nobody.
func names(lookup func(name string) []string) *net.Resolver {
	if lookup == nil {
		lookup = func(string) []string { return nil }
	}
	return &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() { // ends when the resolver closes its end
			defer theirs.Close()
			answerDNS(theirs, lookup)
		}()
		return ours, nil
	}}
}

// answerDNS answers one question as over TCP (RFC 1035, 4.2.2).
func answerDNS(conn net.Conn, lookup func(string) []string) {
	buf := make([]byte, 1024)
	n, err := conn.Read(buf)
	for err == nil && n < 2 || err == nil && n < 2+int(binary.BigEndian.Uint16(buf)) {
		var m int
		m, err = conn.Read(buf[n:])
		n += m
	}
	if err != nil {
		return
	}
	msg := buf[2:n]
	name, at := "", 12
	for msg[at] != 0 {
		name += string(msg[at+1:at+1+int(msg[at])]) + "."
		at += 1 + int(msg[at])
	}
	question := msg[12 : at+5]
	var answers []string
	if binary.BigEndian.Uint16(msg[at+1:]) == 1 { // A
		answers = lookup(strings.TrimSuffix(name, "."))
	}
	reply := append([]byte{msg[0], msg[1], 0x81, 0x80, 0, 1, 0, byte(len(answers)), 0, 0, 0, 0}, question...)
	for _, a := range answers {
		ip := netip.MustParseAddr(a).As4()
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4)
		reply = append(reply, ip[:]...)
	}
	conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(reply))), reply...))
}
