// Package account holds what a relay keeps for the people who use it: buckets
// with their inputs and outputs, the tokens that give access to them, and the
// log of each delivery. Its JSON is that of the management API which clients of
// Webhook Relay speak (webhookrelay.com/docs): field names, identifiers and
// times are theirs.
//
// An Account is a value: it is never changed, only replaced. Book keeps the one
// in force and has each change on disk before it is seen.
package account
