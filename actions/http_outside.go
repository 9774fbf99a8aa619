package actions

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"

	"hookrun/engine"
)

// maxHost is the most bytes of a host's name and port.
const maxHost = 260

// renderWhole lets the event choose the host as well. No secret goes there.
func (h HTTP) renderWhole(in engine.Input) (*url.URL, error) {
	if h.TellsSecret() {
		return nil, engine.Permanent(errors.New("http: the event chooses the host, so that no secret can go there"))
	}
	text, err := h.URL.RenderWith(in.Scope, escapeWhole)
	if err != nil {
		return nil, engine.Permanent(fmt.Errorf("http: %w", err))
	}
	if h.URL.BeginsOpen(in.Scope) {
		return &url.URL{Opaque: text}, nil // for a plan alone
	}
	u, err := url.Parse(text) // its error would show the URL
	if err != nil || !isWeb(u) || u.User != nil || len(u.Host) > maxHost {
		return nil, engine.Permanent(errors.New("http: what the event makes of it is not an http or https URL, without a user"))
	}
	return u, nil
}

// TellsSecret reports whether a secret is part of the call.
func (h HTTP) TellsSecret() bool {
	for _, v := range h.Header {
		if v.Value != nil && v.Value.HasSecret() {
			return true
		}
	}
	return h.URL.HasSecret() || h.Body != nil && h.Body.HasSecret() || treeHasSecret(h.JSON)
}

func treeHasSecret(tree any) bool {
	switch node := tree.(type) {
	case *engine.Template:
		return node.HasSecret()
	case map[string]any:
		for _, v := range node {
			if treeHasSecret(v) {
				return true
			}
		}
	case []any:
		return slices.ContainsFunc(node, treeHasSecret)
	}
	return false
}

// escapeWhole is escapeURL where the host may be the event's. At the beginning a
// value is a whole URL; in the host it stays there.
func escapeWhole(before, value string) (string, error) {
	_, rest, ok := strings.Cut(before, "://")
	switch {
	case before == "":
		return value, nil
	case ok && strings.ContainsAny(rest, "/?#"):
		return escapeURL(before, value)
	case value == "" || strings.Trim(value, hostChars+":[]") != "":
		return "", errors.New("a value in the host of the URL is empty or no part of one")
	}
	return value, nil
}

// withoutHost is an error of the network that does not name the host.
func (c call) withoutHost(err error) error {
	if de, ok := errors.AsType[*net.DNSError](err); ok && de.IsNotFound {
		return errors.New("there is no such host")
	}
	if oe, ok := errors.AsType[*net.OpError](err); ok {
		err = oe.Err
	}
	if engine.IsPermanent(err) { // ours, of a redirect
		return err
	}
	if _, ok := errors.AsType[syscall.Errno](err); ok {
		return err
	}
	return errors.New("no connection, or no answer that can be read")
}
