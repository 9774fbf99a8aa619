package relay

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"

	"hookrun/relay/wire"
)

const dialTimeout = 20 * time.Second // TCP, proxy, TLS and upgrade together

// dial opens the WebSocket. What it reads is told to p.
func (c *Client) dial(ctx context.Context, p *pulse) (conn *websocket.Conn, err error) {
	// gorilla/websocket v1.5.3 indexes past the status line of a proxy that
	// refuses without giving a reason ("HTTP/1.1 503").
	defer func() {
		if r := recover(); r != nil {
			conn, err = nil, fmt.Errorf("connect to relay: a proxy answered in an unexpected way: %v", r)
		}
	}()

	stop := func() bool { return true }
	defer func() { stop() }()
	d := websocket.Dialer{
		Proxy:            http.ProxyFromEnvironment,
		HandshakeTimeout: dialTimeout,
		TLSClientConfig:  c.tls,
		NetDialContext: func(dialing context.Context, network, addr string) (net.Conn, error) {
			nc, err := c.dialNet(dialing, network, addr)
			if err != nil {
				return nil, err
			}
			// The dialer itself waits for the upgrade's answer without looking
			// at its context.
			stop = context.AfterFunc(ctx, func() { nc.Close() })
			return pulseConn{nc, p}, nil
		},
	}
	conn, resp, err := d.DialContext(ctx, c.opts.URL, http.Header{"User-Agent": {c.opts.UserAgent}})
	if err != nil {
		return nil, c.dialError(resp, err)
	}
	// Compression was not offered. A relay that uses it all the same could
	// inflate a frame past wire.MaxFrame, which counts bytes on the wire.
	if resp.Header.Get("Sec-Websocket-Extensions") != "" {
		conn.Close()
		return nil, errors.New("connect to relay: it chose an extension that was not offered")
	}
	conn.SetReadLimit(wire.MaxFrame)
	return conn, nil
}

// dialError says why there is no WebSocket. resp is nil, or what was answered
// in place of the upgrade.
func (c *Client) dialError(resp *http.Response, err error) error {
	switch {
	case resp == nil:
		return fmt.Errorf("connect to relay: %w", err)
	case resp.StatusCode == http.StatusUnauthorized, resp.StatusCode == http.StatusForbidden:
		return c.refusal("answered " + resp.Status)
	default:
		return fmt.Errorf("connect to relay: answered %s", resp.Status)
	}
}
