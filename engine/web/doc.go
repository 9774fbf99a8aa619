// Package web is the dashboard: pages for a browser over a control.Desk, beside
// the JSON API and the metrics that it is given.
//
// The pages are made here, whole, and can be read with scripts off. The script
// that comes with them asks for a page again when something has happened, and
// puts what is new of it in the old one's place; it makes nothing of what came
// from outside itself.
//
// Payloads are hostile. All of them goes through html/template; no page has a
// script or a style in it, and the Content-Security-Policy allows none. Other
// sites that a browser has open are hostile too: requests by a name that is not
// ours, and requests that another site makes, are refused. See guard.go.
//
// Without a token whoever reaches the port may do all that a Desk can: that is
// for a loopback address alone, which the caller has to see to.
package web
