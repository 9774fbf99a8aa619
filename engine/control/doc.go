// Package control is how people ask a running hookrun about its events and runs
// and change them: a small HTTP API with JSON on a unix socket in the data folder,
// the client of it, and what both stand for, the Desk.
//
//	hookrun runs … ─► Client ─► <data folder>/control.sock ─► Server ─┐
//	hookrun runs …, where no hookrun runs ────────────────────────────┼► Local ─► store, engine, Feed
//	the dashboard, and /api of its port ──────────────────────────────┘
//
// The API, which openapi.json describes in full:
//
//	GET  /v1/events?bucket=&rule=&outcome=&since=&until=&before=&after=&limit=   EventList
//	GET  /v1/events/{id}                               EventDetail
//	GET  /v1/events/{id}/body                          its bytes
//	GET  /v1/events/{id}/explain?rule=                 engine.Rehearsal
//	POST /v1/explain                                   ExplainQuery ─► engine.Rehearsal
//	GET  /v1/rejected?bucket=&since=&limit=            RejectionList
//	GET  /v1/watch?bucket=&rule=&outcome=&state=       server-sent events, or a Notice a line
//	GET  /v1/rates?rule=&since=&step=                  RateList
//	GET  /v1/status                                    Status
//	POST /v1/replay                                    ReplayQuery ─► Replayed
//	GET, POST, DELETE /v1/armed?rule=                  Armed
//	GET  /v1/rules                                     RuleList
//	GET  /v1/generations                               GenerationList
//	POST /v1/rules/accept?hash=                        Generation
//	GET  /v1/runs?event=&bucket=&rule=&state=&since=&until=&before=&limit=   List
//	GET  /v1/runs/{id}                                 Detail
//	GET  /v1/runs/{id}/log?follow=1                    a Piece a line; the last one has the state
//	POST /v1/runs/{id}/retry?all=1                     Run
//	POST /v1/runs/{id}/cancel, …/release               Run
//	GET  /v1/paused                                    Paused
//	POST /v1/pause?rule=, POST /v1/resume?rule=        Paused; without rule: all of them
//	GET  /v1/counts                                    Summary
//	GET  /v1/openapi.json                              the description
//
// Everything else is answered with an Error. An id may be its beginning, of 6
// characters or more, where no other event or run has the same.
//
// The socket has mode 0600, so it answers to the user that hookrun runs as, and to
// root; nobody is asked for more. It is no way in for webhooks. Who serves Handler
// elsewhere sees to it who may ask.
package control
