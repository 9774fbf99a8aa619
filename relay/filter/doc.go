// Package filter decides by an output's rules which webhooks go to it. The tree
// and its words are those of adnanh/webhook's trigger rules, as account.Rule
// holds them:
//
//	value, contains, does-not-contain, substring, regex   compare a text of the webhook
//	payload-hash-sha1, payload-hash-sha256                it is the HMAC of the body in hex
//	ip-range                                              the sender's address is in one of the networks
//
// The text is found by source and name: header NAME, query NAME, payload PATH,
// body (all of it) or path (percent-decoded). A payload's path is dotted, list
// elements go by number: commits.0.author.name. JSON is read from any body that
// is JSON, a form from one that says that it is one; a field of a form that
// holds JSON can be gone into (payload.ref). Numbers are compared as they were
// written, objects and lists as compact JSON.
//
// It is closed by default. A webhook in which a text is not there, or which
// could be read in two ways, is not matched by what looks at that text, and
// neither by the opposite: each leaf is true, false or unknown, unknown stays
// unknown under not, and unknown is no match in the end. So a mistyped name lets
// nothing through. Unknown are
//
//   - a parameter that is missing, or null;
//   - one that is there several times, where a rule would say different things
//     of the values: which one counts is the receiver's choice;
//   - a payload in a body that is neither JSON nor a form, or larger than 8 MiB;
//   - what would take more work than a webhook may cost.
//
// Compile refuses what it does not understand: no part of a tree is passed over.
package filter
