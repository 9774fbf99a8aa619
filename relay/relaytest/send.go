package relaytest

import (
	"cmp"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/gorilla/websocket"
)

// Webhook is a request that the relay's public side took.
type Webhook struct {
	ID     string // of the delivery; "": a new one
	Method string // "": POST
	Path   string // what followed the input's address; "": "/"
	Query  string // raw
	Header http.Header
	Body   []byte

	Received time.Time // when the relay took it; zero: now. Told with acks alone

	OutputName, OutputDestination string // "": the bucket has no output
}

// BucketID is the id of the bucket of that name, for subscriptions by id.
func BucketID(name string) string {
	sum := sha256.Sum256([]byte(name))
	return uuid(sum[:])
}

// Send sends a webhook to all who subscribed to the bucket and returns the id
// of the delivery. To clients that ack it is sent later, and again, until they
// do. That nobody subscribed is an error; a real relay would forget the webhook
// in silence.
func (s *Server) Send(bucket string, w Webhook) (id string, err error) {
	w.ID = cmp.Or(w.ID, newID())
	data, err := json.Marshal(s.frame(bucket, w))
	if err != nil {
		return "", fmt.Errorf("relaytest: encode webhook: %w", err)
	}
	s.change(func() { s.sentAt[w.ID] = time.Now() })
	kept, err := s.keep(bucket, w)
	if err != nil {
		return "", err
	}
	subscribers := s.connections(func(c *conn) bool { return c.spool == nil && c.wants(bucket) })
	if len(subscribers) == 0 && kept {
		return w.ID, nil
	}
	if err := broadcast(subscribers, websocket.TextMessage, data); err != nil {
		return "", fmt.Errorf("relaytest: send to bucket %s: %w", bucket, err)
	}
	return w.ID, nil
}

// SendRaw sends a frame of any kind and content to all subscribers. kind is 1
// for text, 2 for binary.
func (s *Server) SendRaw(kind int, data []byte) error {
	if err := broadcast(s.connections((*conn).streaming), kind, data); err != nil {
		return fmt.Errorf("relaytest: send raw frame: %w", err)
	}
	return nil
}

// Ping sends a status ping to all subscribers. Clients answer with a pong frame.
func (s *Server) Ping() error {
	cs := s.connections((*conn).streaming)
	if len(cs) == 0 {
		return errors.New("relaytest: send ping: nobody is subscribed")
	}
	for _, c := range cs {
		if err := c.ping(); err != nil {
			return fmt.Errorf("relaytest: send ping: %w", err)
		}
	}
	return nil
}

// ControlPing sends WebSocket's own ping to all subscribers.
func (s *Server) ControlPing() error { return s.control(websocket.PingMessage, nil) }

// CloseConnections sends a close frame to all subscribers; they end the
// connection.
func (s *Server) CloseConnections(code int, reason string) error {
	return s.control(websocket.CloseMessage, websocket.FormatCloseMessage(code, reason))
}

func (s *Server) control(kind int, data []byte) error {
	for _, c := range s.connections((*conn).streaming) {
		if err := c.ws.WriteControl(kind, data, time.Now().Add(writeTimeout)); err != nil {
			return fmt.Errorf("relaytest: send control frame: %w", err)
		}
	}
	return nil
}

func broadcast(to []*conn, kind int, data []byte) error {
	if len(to) == 0 {
		return errors.New("nobody is subscribed")
	}
	var errs []error
	for _, c := range to {
		errs = append(errs, c.write(func() error { return c.ws.WriteMessage(kind, data) }))
	}
	return errors.Join(errs...)
}

// frame is a webhook on the wire.
func (s *Server) frame(bucket string, w Webhook) map[string]any {
	path := cmp.Or(w.Path, "/")
	header := w.Header
	if header == nil {
		header = http.Header{}
	}
	meta := map[string]any{
		"id":                 w.ID,
		"bucked_id":          BucketID(bucket),
		"bucket_name":        bucket,
		"input_id":           inputID(bucket),
		"input_name":         inputName,
		"output_name":        w.OutputName,
		"output_destination": cmp.Or(w.OutputDestination, path),
	}
	f := map[string]any{
		"type":    "webhook",
		"meta":    meta,
		"headers": header,
		"query":   w.Query,
		"body":    string(w.Body), // what is not UTF-8 is lost here, as on the hosted service
		"method":  cmp.Or(w.Method, http.MethodPost),
	}
	if !s.opts.Plain {
		meta["bucket_id"] = BucketID(bucket)
		meta["path"] = path
		if !utf8.Valid(w.Body) {
			f["body_base64"] = w.Body
		}
	}
	return f
}

func newID() string {
	b := make([]byte, 16)
	rand.Read(b)
	return uuid(b)
}

// uuid writes the first 16 of b as a UUID of version 4.
func uuid(b []byte) string {
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:16])
}
