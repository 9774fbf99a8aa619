// Package control is how people ask a running hookrun about its runs and change
// them: a small HTTP API with JSON on a unix socket in the data folder, the client
// of it, and what both stand for, the Desk.
//
//	hookrun runs … ─► Client ─► <data folder>/control.sock ─► Server ─┐
//	hookrun runs …, where no hookrun runs ────────────────────────────┴► Local ─► store, engine
//
// The API:
//
//	GET  /v1/runs?rule=&state=&since=&before=&limit=   List
//	GET  /v1/runs/{id}                                 Detail
//	GET  /v1/runs/{id}/log?follow=1                    a Piece a line; the last one has the state
//	POST /v1/runs/{id}/retry?all=1                     Run
//	POST /v1/runs/{id}/cancel                          Run
//	GET  /v1/paused                                    Paused
//	POST /v1/pause?rule=, POST /v1/resume?rule=        Paused; without rule: all of them
//	GET  /v1/counts                                    Summary
//
// Everything else is answered with an Error. An id may be its beginning, of 6
// characters or more, where no other run has the same.
//
// The socket has mode 0600, so it answers to the user that hookrun runs as, and to
// root; nobody is asked for more. It is no way in for webhooks.
package control
