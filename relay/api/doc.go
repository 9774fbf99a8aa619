// Package api is the management API of a relay: what sets up buckets, inputs,
// outputs and tokens, shows what was delivered, and takes the answers of
// clients. Its paths and JSON are those of Webhook Relay, so that clients,
// libraries and tools made for that work unchanged.
//
//	/v1/buckets…            buckets with their inputs, outputs and rules
//	/v1/tokens…             who has access
//	/v1/logs…, /v1/events   deliveries; PUT /v1/logs/{id} answers a webhook
//	/v1/connected-clients   who is subscribed
//	/v1/usage, /v1/functions, /v1/tunnels, …
//	                        what clients ask for and this relay does not have:
//	                        lists are empty, to make one is 501
//
// Who asks shows a token, with HTTP Basic (key and secret) or as a Bearer
// (secret alone). A token that is bound to some buckets sees nothing of the
// others, and no tokens, and may not say what host name an input has. One without
// API access can still answer webhooks: that is a subscriber's business, and all
// who may subscribe may do it. Guard slows down whoever guesses.
//
// An answer is JSON, and one that is not 2xx says why as {"message": …}. Each
// has a Request-Id, which the log line of a 5xx has too. Nothing is redirected,
// no cookie is set, and no other website is let in: what a browser says is asked
// for by one gets 403.
//
// It does not keep anything itself, and does not deliver: Book, Logs and Hub do.
package api
