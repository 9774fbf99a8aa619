package rules

import (
	"net"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// Admin says where the dashboard is, and who may look at it.
type Admin struct {
	Listen string        // address; "": not said
	Token  engine.Secret // zero: none is asked for
	Hosts  []string      // names that it is reached by, beside those of this machine
	Cert   string        // path of the certificate;
	Key    string        // and of its key; "": plain HTTP
}

// minAdminToken is the least length of a token, in bytes: people have to log in with
// what can't be guessed.
const minAdminToken = 16

// admin reads the key of that name.
func (l *loader) admin() Admin {
	t, n := l.only("admin")
	if n == nil {
		return Admin{}
	}
	const form = `{listen: "127.0.0.1:8081", token: "${env:ADMIN_TOKEN}"}`
	o, ok := t.keys.part("admin", form, keys[adminShape]()...)
	if !ok {
		return Admin{}
	}
	a := Admin{Listen: o.adminListen(), Token: o.adminToken(), Hosts: o.adminHosts()}
	if v, ok := o.part("tls", "{cert: admin.pem, key: admin.key}", keys[adminTLSShape]()...); ok && v.needs("tls", "write {cert: admin.pem, key: admin.key}", "cert", "key") {
		a.Cert, a.Key = v.adminFile("cert", false), v.adminFile("key", true)
	}
	if len(a.Hosts) > 0 && o.values["token"] == nil {
		o.d.fail(o.values["hosts"], `add token: "${env:ADMIN_TOKEN}"`, "whoever reaches the dashboard by another name is on another machine: that needs a token")
	}
	return a
}

func (o object) adminListen() string {
	n := o.values["listen"]
	if n == nil {
		return ""
	}
	address := o.constant("listen")
	if address == "" && n.Value == "" {
		o.d.fail(n, `the flag -admin "" switches the dashboard off`, "listen is empty")
	}
	if address == "" {
		return ""
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		o.d.fail(n, `an address has a port, as in "127.0.0.1:8081"`, "listen is no address: %s", show(n))
		return ""
	}
	return address
}

// adminToken reads what people log in with.
func (o object) adminToken() engine.Secret {
	n := o.values["token"]
	if n == nil {
		return engine.Secret{}
	}
	s, ok := o.d.expand(n, "token")
	if ok && len(s.Reveal()) < minAdminToken && !o.d.l.o.Dry {
		o.d.fail(n, "openssl rand -hex 32 makes a good one", "the token of the dashboard has less than %d characters", minAdminToken)
	}
	return s
}

// adminHosts reads the names that a browser may call the dashboard by.
func (o object) adminHosts() []string {
	if o.values["hosts"] == nil {
		return nil
	}
	var hosts []string
	for _, n := range o.nameNodes("hosts") {
		if !isHostName(n) {
			o.d.fail(n, "a name such as ops.example.org, without https:// and without a port", "hosts: %s is no name of a host", show(n))
			continue
		}
		hosts = append(hosts, n.Value)
	}
	return hosts
}

func isHostName(n *yaml.Node) bool {
	return !strings.ContainsFunc(n.Value, func(r rune) bool {
		return r != '-' && r != '.' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
}

// adminFile is pemFile, of rules that are to be used.
func (o object) adminFile(key string, private bool) string {
	if o.d.l.o.Dry {
		return ""
	}
	return o.pemFile(key, private)
}
