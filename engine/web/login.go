package web

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"hookrun/engine"
	"hookrun/engine/control"
)

// Bounds of logins.
const (
	maxSessions  = 100
	sessionTime  = 7 * 24 * time.Hour
	maxToken     = 4 << 10          // bytes of what is given for one
	maxGuessers  = 1000             // addresses that are told apart
	guessEvery   = 10 * time.Second // one of them is told that it is wrong so often,
	guessesAhead = 5                // and so many times at once
)

// login asks for the token. Who gave it has a session, or gives it with each
// request.
type login struct {
	token  [sha256.Size]byte // its hash, so that comparing takes as long for all
	asks   bool
	secure bool // over TLS alone

	mu       sync.Mutex               // guards what follows
	sessions map[string]time.Time     // until when, by the hash of its id
	guessers map[string]*rate.Limiter // of those who were wrong, by address; "" is all that are too many
}

func newLogin(token engine.Secret, overTLS bool) *login {
	return &login{
		token: sha256.Sum256([]byte(token.Reveal())), asks: token.Reveal() != "", secure: overTLS,
		sessions: map[string]time.Time{}, guessers: map[string]*rate.Limiter{},
	}
}

func (l *login) needed() bool { return l.asks }

// only lets those through who may come in. Programs are told, people are asked.
func (l *login) only(next http.Handler) http.Handler {
	if !l.asks {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		switch {
		case bearer && l.right(given), !bearer && l.known(r):
			next.ServeHTTP(w, r)
		case bearer && !l.mayGuess(r.RemoteAddr):
			w.Header().Set("Retry-After", "60")
			tellProgram(w, &control.Error{Status: http.StatusTooManyRequests, Msg: "too many wrong tokens", Hint: "wait a minute"})
		case bearer || !isPage(r.URL.Path) && !strings.HasPrefix(r.URL.Path, "/ui/"):
			w.Header().Set("WWW-Authenticate", `Bearer realm="hookrun"`)
			tellProgram(w, &control.Error{Status: http.StatusUnauthorized, Msg: "the token is missing or wrong", Hint: "Authorization: Bearer TOKEN, with that of admin: in the rules file"})
		case isRead(r):
			http.Redirect(w, r, "/login?back="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
		default: // the session ended while they looked at the page
			http.Redirect(w, r, "/login", http.StatusSeeOther)
		}
	})
}

// brief closes the connections of those who may not come in, after each answer: there
// are few, and they could hold them all.
func (l *login) brief(next http.Handler) http.Handler {
	if !l.asks {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		given, bearer := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !(bearer && l.right(given)) && !l.known(r) {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}

func tellProgram(w http.ResponseWriter, err *control.Error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(err.Status)
	_ = json.NewEncoder(w).Encode(err) // who hung up can't be told anything
}

// right compares what was given with the token. Who was wrong before is heard all
// the same: else anybody at an address could keep all others there out. A token is too
// long to be found by trying.
func (l *login) right(given string) bool {
	sum := sha256.Sum256([]byte(given))
	return subtle.ConstantTimeCompare(sum[:], l.token[:]) == 1
}

// mayGuess reports whether an address that was wrong is told so, and counts it.
func (l *login) mayGuess(remote string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.guesser(remote).Allow()
}

// guesser counts what an address has wrong. mu is held.
func (l *login) guesser(remote string) *rate.Limiter {
	who := addressOf(remote)
	if l.guessers[who] == nil && len(l.guessers) >= maxGuessers {
		l.forget()
	}
	if l.guessers[who] == nil && len(l.guessers) >= maxGuessers {
		who = ""
	}
	if l.guessers[who] == nil {
		l.guessers[who] = rate.NewLimiter(rate.Every(guessEvery), guessesAhead)
	}
	return l.guessers[who]
}

// forget drops those who were not wrong for a while. mu is held.
func (l *login) forget() {
	for who, g := range l.guessers {
		if g.Tokens() >= guessesAhead {
			delete(l.guessers, who)
		}
	}
}

// addressOf is the address of one machine: of an IPv6 one has a whole /64.
func addressOf(remote string) string {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return remote
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host
	}
	if addr = addr.Unmap(); addr.Is6() {
		p, _ := addr.WithZone("").Prefix(64) // 64 is in range
		return p.String()
	}
	return addr.String()
}

// known reports whether the request is of a session.
func (l *login) known(r *http.Request) bool {
	c, err := r.Cookie(l.cookie())
	if err != nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	until, ok := l.sessions[hashOf(c.Value)]
	return ok && time.Now().Before(until)
}

// begin makes a session and gives its id to the browser.
func (l *login) begin(w http.ResponseWriter) {
	id := rand.Text() + rand.Text() // 26 letters with 128 bits each
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drop()
	l.sessions[hashOf(id)] = time.Now().Add(sessionTime)
	http.SetCookie(w, &http.Cookie{
		Name: l.cookie(), Value: id, Path: "/", MaxAge: int(sessionTime / time.Second),
		HttpOnly: true, Secure: l.secure, SameSite: http.SameSiteStrictMode,
	})
}

// drop makes room for a session: it takes away those that are over, and else the
// one that would end first. mu is held.
func (l *login) drop() {
	now, oldest := time.Now(), ""
	for id, until := range l.sessions {
		if !now.Before(until) {
			delete(l.sessions, id)
		} else if oldest == "" || until.Before(l.sessions[oldest]) {
			oldest = id
		}
	}
	if len(l.sessions) >= maxSessions {
		delete(l.sessions, oldest)
	}
}

// end ends the session of the request.
func (l *login) end(w http.ResponseWriter, r *http.Request) {
	if c, err := r.Cookie(l.cookie()); err == nil {
		l.mu.Lock()
		delete(l.sessions, hashOf(c.Value))
		l.mu.Unlock()
	}
	http.SetCookie(w, &http.Cookie{Name: l.cookie(), Path: "/", MaxAge: -1, HttpOnly: true, Secure: l.secure, SameSite: http.SameSiteStrictMode})
}

// cookie is the name of the session's. With __Host- no other host can set it.
func (l *login) cookie() string {
	if l.secure {
		return "__Host-hookrun"
	}
	return "hookrun"
}

// hashOf is what a session is looked up by: how long a look-up takes tells nothing
// of the ids that there are.
func hashOf(id string) string {
	sum := sha256.Sum256([]byte(id))
	return string(sum[:])
}

// loginPage is what /login shows.
type loginPage struct {
	Back string
	Err  string
}

func (s *Server) showLogin(w http.ResponseWriter, r *http.Request) error {
	if !s.login.asks || s.login.known(r) {
		http.Redirect(w, r, local(r.URL.Query().Get("back")), http.StatusSeeOther)
		return nil
	}
	return s.bare(w, r, http.StatusOK, "login", loginPage{Back: local(r.URL.Query().Get("back"))})
}

func (s *Server) doLogin(w http.ResponseWriter, r *http.Request) error {
	if err := readForm(w, r, maxToken); err != nil {
		return err
	}
	page := loginPage{Back: local(r.PostForm.Get("back"))}
	switch {
	case !s.login.asks:
	case s.login.right(strings.TrimSpace(r.PostForm.Get("token"))):
		s.login.begin(w)
	case !s.login.mayGuess(r.RemoteAddr):
		w.Header().Set("Retry-After", "60")
		page.Err = "Too many wrong tokens. Wait a minute."
		return s.bare(w, r, http.StatusTooManyRequests, "login", page)
	default:
		s.log.Warn("wrong token for the dashboard", "remote", r.RemoteAddr)
		page.Err = "This is not the token. It is that of admin: in the rules file."
		return s.bare(w, r, http.StatusForbidden, "login", page)
	}
	http.Redirect(w, r, page.Back, http.StatusSeeOther)
	return nil
}

func (s *Server) logout(w http.ResponseWriter, r *http.Request) error {
	s.login.end(w, r)
	http.Redirect(w, r, "/login", http.StatusSeeOther)
	return nil
}
