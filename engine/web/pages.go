package web

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strings"

	"hookrun/engine/control"
)

// pages are the templates, each with what all pages share.
type pages struct {
	byName map[string]*template.Template
}

// newPages reads them. That one is wrong is a fault of ours, and tests see it.
func newPages() (*pages, error) {
	links, err := assetLinks()
	if err != nil {
		return nil, err
	}
	funcs := pageFuncs()
	funcs["asset"] = func(name string) (string, error) {
		if link, ok := links[name]; ok {
			return link, nil
		}
		return "", fmt.Errorf("there is no asset %q", name)
	}
	shared, err := template.New("").Funcs(funcs).ParseFS(templates, "pages/shared/*.html")
	if err != nil {
		return nil, fmt.Errorf("read the pages: %w", err)
	}
	names, err := fs.Glob(templates, "pages/*.html")
	if err != nil {
		return nil, fmt.Errorf("read the pages: %w", err)
	}
	p := &pages{byName: map[string]*template.Template{}}
	for _, name := range names {
		t, err := template.Must(shared.Clone()).ParseFS(templates, name) // it was not executed yet
		if err != nil {
			return nil, fmt.Errorf("read the pages: %w", err)
		}
		p.byName[strings.TrimSuffix(path.Base(name), ".html")] = t
	}
	return p, nil
}

// assetLinks are the addresses of the assets, by name.
func assetLinks() (map[string]string, error) {
	entries, err := assets.ReadDir("assets")
	if err != nil {
		return nil, fmt.Errorf("read the assets: %w", err)
	}
	links := map[string]string{}
	for _, e := range entries {
		data, err := assets.ReadFile("assets/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read the assets: %w", err)
		}
		sum := sha256.Sum256(data)
		links[e.Name()] = "/assets/" + e.Name() + "?v=" + hex.EncodeToString(sum[:6])
	}
	return links, nil
}

// frame is what stands around every page.
type frame struct {
	Title  string
	Nav    string // the part of the dashboard that it belongs to
	Here   string // its own address, without the notice
	Notice *notice
	Login  bool            // one can log out
	Status *control.Status // nil: show asks for it
	Err    string          // why there is no Status
}

// shown is what a template gets.
type shown struct {
	Frame frame
	Page  any
}

// liveHeader is of requests by which app.js keeps a page as things are. It takes the
// live parts alone, and what rules make of an event is none: to ask them again each
// time would cost much.
const liveHeader = "Hookrun-Live"

// answer is a handler; its error becomes a page.
type answer func(w http.ResponseWriter, r *http.Request) error

// page makes a handler of an answer.
func (s *Server) page(a answer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := a(w, r); err != nil {
			s.refuse(w, r, err)
		}
	})
}

// inTurn has an answer made in turn: a page takes some MiB, and time, to make. Who
// reads it slowly, or not at all, has nobody wait for that: it is sent afterwards.
func (s *Server) inTurn(a answer) answer {
	return func(w http.ResponseWriter, r *http.Request) error {
		made := unsent{header: w.Header()}
		if err := s.make(&made, r, a); err != nil {
			return err
		}
		if made.status != 0 {
			w.WriteHeader(made.status)
		}
		_, _ = w.Write(made.body.Bytes()) // who hung up can't be told anything
		return nil
	}
}

func (s *Server) make(w *unsent, r *http.Request, a answer) error {
	done, err := s.turns.Take(r.Context())
	if err != nil {
		return err
	}
	defer done()
	return a(w, r)
}

// unsent is an answer that nothing was sent of yet.
type unsent struct {
	header http.Header
	status int // 0: none was set
	body   bytes.Buffer
}

func (u *unsent) Header() http.Header { return u.header }

func (u *unsent) WriteHeader(status int) { u.status = status }

func (u *unsent) Write(data []byte) (int, error) { return u.body.Write(data) }

// errorPage is what is shown where something was wrong.
type errorPage struct {
	Status int
	Msg    string
	Hint   string
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	said, ok := errors.AsType[*control.Error](err)
	if !ok {
		if r.Context().Err() != nil {
			return // who asked is gone
		}
		s.log.Warn("a page of the dashboard failed", "method", r.Method, "path", r.URL.Path, "err", err)
		said = &control.Error{Status: http.StatusInternalServerError, Msg: err.Error()}
	}
	status := said.Status
	if status < http.StatusBadRequest {
		status = http.StatusInternalServerError
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", control.RetryAfter)
	}
	page := errorPage{status, said.Msg, said.Hint}
	if err := s.show(w, r, status, "error", frame{Title: http.StatusText(status)}, page); err != nil {
		s.log.Warn("a page of the dashboard failed", "path", r.URL.Path, "err", err)
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
	}
}

// show sends a page with its frame.
func (s *Server) show(w http.ResponseWriter, r *http.Request, status int, name string, f frame, page any) error {
	f.Here, f.Notice, f.Login = here(r.URL), s.said.of(r.URL.Query().Get(saidParam)), s.login.asks
	if f.Status == nil {
		st, err := s.desk.Status(r.Context())
		if err != nil {
			f.Err = err.Error()
		} else {
			f.Status = &st
		}
	}
	return s.bare(w, r, status, name, shown{f, page})
}

// bare sends what a template makes of data. It is made whole first, so that one
// that fails is an error and no half of a page. It ends with who asked.
func (s *Server) bare(w http.ResponseWriter, r *http.Request, status int, name string, data any) error {
	t := s.pages.byName[name]
	var text bytes.Buffer
	if err := t.ExecuteTemplate(whileAsked{r.Context().Err, &text}, name+".html", data); err != nil {
		return fmt.Errorf("make the page %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes()) // who hung up can't be told anything
	return nil
}

// whileAsked is a writer that fails once nobody waits for what is written.
type whileAsked struct {
	gone func() error // why nobody does
	text *bytes.Buffer
}

func (w whileAsked) Write(data []byte) (int, error) {
	if err := w.gone(); err != nil {
		return 0, err
	}
	return w.text.Write(data)
}

// here is an address without what is said once.
func here(u *url.URL) string {
	q := u.Query()
	if q.Has(saidParam) {
		q.Del(saidParam)
		u = &url.URL{Path: u.Path, RawPath: u.RawPath, RawQuery: q.Encode()}
	}
	return local(u.RequestURI())
}

// local is where a form leads back to: an address of ours, or the first page.
func local(back string) string {
	u, err := url.Parse(back)
	if err != nil || u.Scheme != "" || u.Host != "" || u.Opaque != "" || u.User != nil || !isPage(u.Path) {
		return "/"
	}
	if len(back) > maxBack || !strings.HasPrefix(back, "/") || strings.HasPrefix(back, "//") || strings.ContainsAny(back, "\\\r\n\t") {
		return "/"
	}
	return back
}

// maxBack bounds the address that a form leads back to, in bytes.
const maxBack = 2 << 10

// readForm reads a form of at most so many bytes.
func readForm(w http.ResponseWriter, r *http.Request, most int64) error {
	r.Body = http.MaxBytesReader(w, r.Body, most)
	err := r.ParseForm()
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return &control.Error{Status: http.StatusRequestEntityTooLarge, Msg: "that is too long", Hint: "hookrun replay takes longer bodies"}
	}
	if err != nil {
		return &control.Error{Status: http.StatusBadRequest, Msg: "the form can't be read"}
	}
	return nil
}

// optional is what a Desk may not be able to tell, of a part of a page that can do
// without: its text is why.
func optional(ctx context.Context, err error) (string, error) {
	if err == nil {
		return "", nil
	}
	if ctx.Err() != nil {
		return "", err
	}
	return err.Error(), nil
}
