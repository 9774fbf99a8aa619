package rules

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"gopkg.in/yaml.v3"

	"hookrun/engine"
)

// maxSecret bounds the file of a secret, in bytes.
const maxSecret = 64 << 10

var (
	secretRef   = regexp.MustCompile(`\$\{((?:env|file):[^}]*)\}`)
	shellSecret = regexp.MustCompile(`\$\{(?:env:[A-Za-z_][A-Za-z0-9_]*|file:[./~][^}]*)\}`)
	bareRef     = regexp.MustCompile(`(?:^|[^$])(\$\{([A-Za-z_][A-Za-z0-9_]*)\})`)
)

// secret returns the value that "env:NAME" or "file:PATH" stands for.
func (l *loader) secret(ref string) (engine.Secret, error) {
	kind, name, _ := strings.Cut(ref, ":")
	value, err := "", error(nil)
	switch {
	case l.o.Dry:
		value = l.standIn(kind, name)
	case kind == "env":
		value, err = l.fromEnv(name)
	default:
		value, err = l.fromFile(name)
	}
	if err != nil {
		return engine.Secret{}, err
	}
	s := engine.NewSecret(value)
	if !slices.Contains(l.secrets, s) {
		l.secrets = append(l.secrets, s)
	}
	return s, nil
}

// standIn is what a secret is in rules that are only asked: what Getenv gives, or a
// text that no other secret has.
func (l *loader) standIn(kind, name string) string {
	if value, ok := l.o.Getenv(name); ok && value != "" && kind == "env" {
		return value
	}
	return "stand-in-for-" + kind + "-" + url.PathEscape(name)
}

func (l *loader) fromEnv(name string) (string, error) {
	if name == "" {
		return "", fmt.Errorf("${env:} names no variable")
	}
	value, ok := l.o.Getenv(name)
	if !ok {
		return "", fmt.Errorf("the environment variable %s is not set", name)
	}
	if value == "" {
		return "", fmt.Errorf("the environment variable %s is empty", name)
	}
	return value, nil
}

func (l *loader) fromFile(path string) (string, error) {
	if path == "" {
		return "", fmt.Errorf("${file:} names no file")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(l.o.Dir, path)
	}
	l.guard = append(l.guard, path)
	l.secretFiles = append(l.secretFiles, path)
	data, err := readFile(path, maxSecret)
	if err != nil {
		return "", fmt.Errorf("the secret file %s: %s", path, cause(err))
	}
	if err := l.checkSecretFile(path); err != nil {
		return "", err
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	if value == "" {
		return "", fmt.Errorf("the secret file %s is empty", path)
	}
	return value, nil
}

// checkSecretFile looks who else can read or change the file of a secret. That it
// can be read is a warning: hookrun is not to blame for it.
func (l *loader) checkSecretFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("the secret file %s: %s", path, cause(err))
	}
	msg, hint, fatal := checkSecretMode(path, info)
	if fatal {
		return fmt.Errorf("the secret file %s: %s (%s)", path, msg, hint)
	}
	p := Problem{File: path, Msg: "the file of a secret: " + msg, Hint: hint, Warning: true}
	if msg != "" && !slices.Contains(l.problems, p) {
		l.problems = append(l.problems, p)
	}
	return nil
}

// expand returns the value of a text that may hold references to secrets and
// that is a secret as a whole, such as a key of the relay.
func (d *decoder) expand(n *yaml.Node, what string) (engine.Secret, bool) {
	if !d.scalar(n, what) {
		return engine.Secret{}, false
	}
	if m := bareRef.FindStringSubmatch(n.Value); m != nil {
		d.fail(n, fmt.Sprintf("write ${env:%s}", m[2]), "%s refers to a variable without saying where it is from", what)
		return engine.Secret{}, false
	}
	if at := strings.Index(secretRef.ReplaceAllString(n.Value, ""), "${"); at >= 0 || strings.Contains(n.Value, "{{") || strings.HasPrefix(n.Value, "$(") {
		d.fail(n, "write ${env:NAME} or ${file:PATH}", "%s holds a reference that is none", what)
		return engine.Secret{}, false
	}
	good := true
	value := secretRef.ReplaceAllStringFunc(n.Value, func(ref string) string {
		s, err := d.l.secret(ref[2 : len(ref)-1])
		if err != nil {
			d.fail(n, "", "%v", err)
			good = false
		}
		return s.Reveal()
	})
	if good && strings.TrimSpace(value) == "" {
		d.fail(n, "", "%s is empty", what)
		good = false
	}
	if !good {
		return engine.Secret{}, false
	}
	s := engine.NewSecret(value)
	if !slices.Contains(d.l.secrets, s) {
		d.l.secrets = append(d.l.secrets, s)
	}
	return s, true
}
