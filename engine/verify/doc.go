// Package verify tells whether a request comes from who holds the secret of a
// bucket, by the scheme that its sender signs with.
//
//	Request ─► header: each read once, bounded ─► payload: the bytes that were signed
//	        ─► key: HMAC or ed25519, in constant time ─► age ≤ tolerance ─► nil | *Failure
//
// What it promises: a request passes only if the scheme's definition holds over
// its exact bytes with one of the secrets; nothing is parsed out of a body that
// is not verified yet, except where the scheme signs parts of it (twilio, sns,
// microsoft-graph, the forms of gitea and forgejo), and by the doctor. A header
// that may come once and comes twice is refused. No text that leaves the
// package, of a Failure, a ConfigError or the doctor, holds a secret, or a
// signature that would be right.
//
// What it does not promise: that a request is new. Schemes with a timestamp
// refuse what is older than the tolerance; within it, and for the schemes
// without one, the id of the delivery has to be remembered by the caller. Nor
// that a body belongs to its sender where the scheme is a mere token (token,
// basic, bearer, jwt, docker-registry, microsoft-graph, gitlab without whsec_).
//
// Most schemes differ in a few words only: those are rows of the table in
// rows.go, and a new one is a new row.
//
// Its files stand in the order of a request's way: verify, config, scheme, rows,
// header, payload, template, form, twilio, key, signature, token, gitlab, graph, jwt, queue,
// jwks, sns, cert, sign, challenge, and for what failed doctor with its variants.
package verify
